package mesos

import (
	"encoding/base64"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/proffer/proffer/agent/mesos/wire"
)

// A token is a JWT that says whose it is; one that another key signed, or that was changed, says nothing.
func TestExecutorTokens(t *testing.T) {
	key := ExecutorKey("01234567890123456789012345678901")
	token := key.Token("fw", "exe\"c", "a110c")
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("the token is %s", token)
	}
	for i, want := range []string{`{"alg":"HS256","typ":"JWT"}`, `{"fid":"fw","eid":"exe\"c","cid":"a110c"}`} {
		if raw, err := base64.RawURLEncoding.DecodeString(parts[i]); err != nil || string(raw) != want {
			t.Errorf("part %d is %s: %v", i, raw, err)
		}
	}
	if got := key.claims(token); got == nil || *got != (claims{"fw", "exe\"c", "a110c"}) {
		t.Errorf("it says %+v", got)
	}
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	none := encode(`{"alg":"none","typ":"JWT"}`) + "." + parts[1]
	for name, bad := range map[string]string{
		"nothing": "", "no parts": "x", "another key": ExecutorKey("other").Token("fw", "exe\"c", "a110c"),
		"other claims": parts[0] + "." + encode(`{"fid":"fw","eid":"other","cid":"a110c"}`) + "." + parts[2],
		"no signature": parts[0] + "." + parts[1] + ".", "no algorithm": none + ".", "no algorithm, signed": none + "." + key.sign(none),
		"longer": token + "A", "large": parts[0] + "." + strings.Repeat("A", 10<<10) + "." + parts[2],
	} {
		if got := key.claims(bad); got != nil {
			t.Errorf("%s: it says %+v", name, got)
		}
	}
	if ExecutorKey(nil).claims(ExecutorKey(nil).Token("fw", "x", "a")) != nil {
		t.Error("a node without a key takes a token")
	}
}

// An executor that must prove who it is does so before anything else is said, and speaks for itself alone.
func TestExecutorsProveWhoTheyAre(t *testing.T) {
	demand := true
	x := &Executors{Node: empty{}, Log: slog.New(slog.DiscardHandler), Key: ExecutorKey("01234567890123456789012345678901"), Demand: func() bool { return demand }}
	own, other := "Bearer "+x.Key.Token("f", "x", "a"), "Bearer "+x.Key.Token("f", "y", "b")
	for _, e := range []wire.Encoding{wire.JSON, wire.Protobuf} {
		call := func(kind wire.ExecutorCallType) []byte {
			return e.Marshal(&wire.ExecutorCall{ExecutorID: wire.ID{Value: "x"}, FrameworkID: wire.ID{Value: "f"}, Type: &kind, Subscribe: &wire.ExecutorSubscribe{}})
		}
		for _, c := range []struct {
			name, authorization string
			body                []byte
			status              int
			want                string
		}{
			{"no token", "", call(wire.ExecutorCallSubscribe), 401, "token"},
			{"a bad call without a token", "", nil, 401, "token"},
			{"a heartbeat without a token", "", call(wire.ExecutorCallHeartbeat), 401, "token"},
			{"HTTP Basic", "Basic eDp4", call(wire.ExecutorCallSubscribe), 401, "token"},
			{"a token that is none", "Bearer x.y.z", call(wire.ExecutorCallSubscribe), 401, "token"},
			{"the token of another", other, call(wire.ExecutorCallSubscribe), 403, "another executor"},
			{"its own", own, call(wire.ExecutorCallSubscribe), 400, "cannot be found"},
			{"its own, in other letters", strings.Replace(own, "Bearer", "bearer", 1), call(wire.ExecutorCallSubscribe), 400, "cannot be found"},
			{"its own, for a heartbeat", own, call(wire.ExecutorCallHeartbeat), 202, ""},
		} {
			r := httptest.NewRequest("POST", "/api/v1/executor", strings.NewReader(string(c.body)))
			r.Header.Set("Content-Type", e.ContentType())
			if c.authorization != "" {
				r.Header.Set("Authorization", c.authorization)
			}
			w := httptest.NewRecorder()
			x.ServeHTTP(w, r)
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) || (w.Header().Get("WWW-Authenticate") != "") != (c.status == 401) {
				t.Errorf("%s, %s: %d %s %v", e.ContentType(), c.name, w.Code, w.Body, w.Header())
			}
		}
	}
	demand = false
	if w := askExecutors(x, "POST", "application/json", wire.JSON.Marshal(&wire.ExecutorCall{Type: new(wire.ExecutorCallHeartbeat)})); w.Code != 202 {
		t.Errorf("nothing is demanded: %d", w.Code)
	}
}

// No token, whatever it is, is taken but those of the key.
func FuzzExecutorToken(f *testing.F) {
	key := ExecutorKey("01234567890123456789012345678901")
	f.Add(key.Token("f", "x", "a"))
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		if c := key.claims(token); c != nil && key.Token(c.Framework, c.Executor, c.Container) != token {
			t.Errorf("%q is taken for one of %+v", token, c)
		}
	})
}

package http

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// In a realm that demands it a principal and its secret let a request in, and nothing else does; elsewhere they do not.
func TestPrincipals(t *testing.T) {
	secrets := &Credentials{}
	w := newWorld(t, func(o *Options) { o.Secrets, o.Token = secrets, "s3cret-token" })
	for path, realm := range map[string]Realm{"/scheduler": SchedulerRealm, "/operate/{id}": ReadWriteRealm, "/well": OpenRealm} {
		w.service.ofMesos(realm, func(to http.ResponseWriter, r *http.Request) {
			who := w.service.Caller(r)
			io.WriteString(to, who.Actor+" is "+who.Principal)
		}, path)
	}
	ask := func(path, user, password string, header ...string) (int, string, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", w.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if user != "" || password != "" {
			r.SetBasicAuth(user, password)
		}
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res.StatusCode, res.Header.Get("WWW-Authenticate"), string(body)
	}
	expect := func(name string, status int, challenge, want string) func(int, string, string) {
		return func(got int, by, body string) {
			t.Helper()
			if got != status || by != challenge || !strings.Contains(body, want) {
				t.Errorf("%s: %d, challenge %q, %q; want %d, %q, %q", name, got, by, body, status, challenge, want)
			}
			if strings.Contains(body, "ann-secret") {
				t.Errorf("%s: a secret in %q", name, body)
			}
		}
	}
	const scheduler, readWrite = `Basic realm="mesos-master-scheduler"`, `Basic realm="mesos-master-readwrite"`
	const ours = `Basic realm="Proffer: any user, the token as password"`

	expect("nothing is demanded, the token is", 200, "", "token is ann")(ask("/scheduler", "ann", "s3cret-token"))
	expect("nothing is demanded, a secret is no token", 401, ours, "token")(ask("/scheduler", "ann", "ann-secret"))

	secrets.Set(map[string]string{"ann": "ann-secret", "bob": "bob-secret"}, SchedulerRealm)
	expect("the secret", 200, "", "principal/ann is ann")(ask("/scheduler", "ann", "ann-secret"))
	expect("the secret and an actor", 200, "", "principal/bob/x is bob")(ask("/scheduler", "bob", "bob-secret", "X-Proffer-Actor", "x"))
	expect("the secret of another", 401, scheduler, "principal")(ask("/scheduler", "ann", "bob-secret"))
	expect("an unknown principal", 401, scheduler, "principal")(ask("/scheduler", "eve", "ann-secret"))
	expect("nobody", 401, scheduler, "principal")(ask("/scheduler", "", ""))
	expect("nobody with an empty secret", 401, scheduler, "principal")(ask("/scheduler", "eve", ""))
	expect("the token", 401, scheduler, "principal")(ask("/scheduler", "ann", "s3cret-token"))
	expect("the token as bearer", 401, scheduler, "principal")(ask("/scheduler", "", "", "Authorization", "Bearer s3cret-token"))
	expect("a page of another site", 403, ours, "")(ask("/scheduler", "ann", "ann-secret", "Origin", "http://evil.example"))
	expect("another realm", 401, ours, "token")(ask("/operate/x", "ann", "ann-secret"))
	expect("our own API", 401, "", "token")(ask("/v1/jobs", "ann", "ann-secret"))
	expect("another path", 401, ours, "token")(ask("/scheduler/", "ann", "ann-secret"))

	secrets.Set(map[string]string{"ann": "ann-2"}, ReadWriteRealm, ReadOnlyRealm)
	expect("without proof", 200, "", "anybody is ")(ask("/well", "", ""))
	expect("with a wrong one", 200, "", "anybody is ")(ask("/well", "ann", "x"))
	expect("a realm is demanded since", 401, readWrite, "principal")(ask("/operate/x", "", ""))
	expect("an old secret", 401, readWrite, "principal")(ask("/operate/x", "ann", "ann-secret"))
	expect("the new secret", 200, "", "principal/ann is ann")(ask("/operate/x", "ann", "ann-2"))
	expect("a realm is not demanded any more", 200, "", "token is ann")(ask("/scheduler", "ann", "s3cret-token"))
}

// Without a token a secret lets in from this machine alone.
func TestPrincipalsOfOtherMachines(t *testing.T) {
	g := newGuard("", nil)
	g.mesos = &Credentials{}
	g.mesos.Set(map[string]string{"ann": "ann-secret"}, SchedulerRealm)
	for remote, want := range map[string]bool{"127.0.0.1:1": true, "10.0.0.9:1": false} {
		r, err := http.NewRequest("POST", "http://127.0.0.1:5050/api/v1/scheduler", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.RemoteAddr = remote
		r.SetBasicAuth("ann", "ann-secret")
		if who, err := g.identify(r, SchedulerRealm); (err == nil) != want || who.principal == "ann" != want {
			t.Errorf("%s: %+v, %v", remote, who, err)
		}
	}
}

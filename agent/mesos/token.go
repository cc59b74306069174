package mesos

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/proffer/proffer/structs"
)

// ExecutorKey signs the tokens by which executors of a node prove who they are: JWTs with HMAC-SHA256. They have no end: a token names
// an allocation, and says nothing any more when that has ended.
type ExecutorKey []byte

// claims are what a token says of its executor.
type claims struct {
	Framework structs.FrameworkID `json:"fid"`
	Executor  string              `json:"eid"`
	Container structs.AllocID     `json:"cid"`
}

// tokenHeader is the only header that is signed, so that no other algorithm can be asked for.
var tokenHeader = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`))

// maxToken bounds a token that is looked at, in bytes: ids have up to 255, six for each in JSON.
const maxToken = 8 << 10

// Token returns the token of an executor.
func (k ExecutorKey) Token(framework structs.FrameworkID, executor string, alloc structs.AllocID) string {
	raw, err := json.Marshal(claims{framework, executor, alloc})
	if err != nil {
		panic(err) // text can always be written
	}
	signed := tokenHeader + "." + base64.RawURLEncoding.EncodeToString(raw)
	return signed + "." + k.sign(signed)
}

func (k ExecutorKey) sign(text string) string {
	mac := hmac.New(sha256.New, k)
	mac.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// claims returns what a token says that the key signed, nil for any other.
func (k ExecutorKey) claims(token string) *claims {
	at := strings.LastIndexByte(token, '.')
	if at < 0 || len(token) > maxToken || len(k) == 0 {
		return nil
	}
	signed, signature := token[:at], token[at+1:]
	payload, ours := strings.CutPrefix(signed, tokenHeader+".")
	if !ours || !hmac.Equal([]byte(signature), []byte(k.sign(signed))) {
		return nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	out := &claims{}
	if err != nil || json.Unmarshal(raw, out) != nil {
		return nil
	}
	return out
}

// proved returns what the token of a request says; who has none that is good is refused.
func (k ExecutorKey) proved(w http.ResponseWriter, r *http.Request) (*claims, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		if c := k.claims(strings.TrimSpace(token)); c != nil {
			return c, nil
		}
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="mesos-agent-executor"`)
	return nil, refuse(http.StatusUnauthorized, "the token of the executor is missing or wrong")
}

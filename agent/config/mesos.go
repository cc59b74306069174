package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/proffer/proffer/structs"
)

// Mesos configures the APIs of Mesos.
type Mesos struct {
	Authenticate []string     `json:"authenticate,omitempty" doc:"APIs that demand proof of who asks: scheduler and operator demand a principal with its secret, executor the token that the agent gave to the executor. Without it the token of the agent, if there is one, is enough."`
	Forward      bool         `json:"forward,omitempty" doc:"A server that does not lead passes calls of schedulers on to the leader, through the cluster port, instead of sending them there with 307: up to 1024 at a time, subscriptions among them."`
	Credentials  string       `json:"credentials,omitempty" doc:"File of mode 0600 with principals and their secrets: a line of both for each, or JSON as Mesos has it."`
	Principals   []*Principal `json:"principal,omitempty" hcl:"block" doc:"A principal, beside those of the file."`
}

// Principal is one that proves itself by a secret.
type Principal struct {
	Name       string `json:"name" hcl:"label" doc:"The principal, as frameworks name it."`
	Secret     Secret `json:"secret,omitempty" doc:"Its secret; give it by secret_file rather than here."`
	SecretFile string `json:"secret_file,omitempty" doc:"File that holds the secret."`
}

// APIs that may demand proof.
const (
	SchedulerAPI = "scheduler"
	OperatorAPI  = "operator"
	ExecutorAPI  = "executor"
)

var mesosAPIs = []string{SchedulerAPI, OperatorAPI, ExecutorAPI}

const (
	maxPrincipals  = 1000
	maxCredentials = 1 << 20 // bytes of the file
)

// secrets reads the files; what the credentials name is among the principals then.
func (m *Mesos) secrets(p *structs.Problems) {
	for _, x := range m.Principals {
		secretOf(p, "mesos.principal."+x.Name, "secret", x.SecretFile, &x.Secret)
	}
	if m.Credentials == "" {
		return
	}
	const at = "mesos.credentials"
	src, err := readPrivate(m.Credentials)
	if err != nil {
		p.Add(at, "%s %s", m.Credentials, structs.AsError(err).Why).Advise("make it readable for its owner alone: chmod 600")
		return
	}
	found, err := credentials(src)
	if err != nil {
		p.Add(at, "%s: %s", m.Credentials, err)
		return
	}
	m.Principals = append(m.Principals, found...)
}

// readPrivate returns a file that nobody but its owner may read.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, unreadable(path, err)
	case !info.Mode().IsRegular():
		return nil, structs.Errorf(structs.Invalid, path, "is not a file")
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0: // there, modes say nothing of who may read
		return nil, structs.Errorf(structs.Invalid, path, "has mode %04o: others may read it", info.Mode().Perm())
	}
	src, err := io.ReadAll(io.LimitReader(f, maxCredentials+1))
	switch {
	case err != nil:
		return nil, unreadable(path, err)
	case len(src) > maxCredentials:
		return nil, structs.Errorf(structs.Invalid, path, "has more than %s", structs.Bytes(maxCredentials))
	}
	return src, nil
}

// credentials reads principals with their secrets. Its error quotes nothing: it may be a secret.
func credentials(src []byte) (out []*Principal, err error) {
	text := strings.TrimSpace(string(src))
	if strings.HasPrefix(text, "{") {
		var file struct {
			Credentials []struct{ Principal, Secret string }
		}
		if err := json.Unmarshal([]byte(text), &file); err != nil {
			return nil, errors.New(`it is not JSON such as {"credentials": [{"principal": "…", "secret": "…"}]}`)
		}
		for _, c := range file.Credentials {
			out = append(out, &Principal{Name: c.Principal, Secret: Secret(c.Secret)})
		}
		return out, nil
	}
	for i, line := range strings.Split(text, "\n") {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || strings.HasPrefix(words[0], "#"):
		case len(words) == 2:
			out = append(out, &Principal{Name: words[0], Secret: Secret(words[1])})
		default:
			return nil, fmt.Errorf("line %d is not a principal and its secret", i+1)
		}
	}
	return out, nil
}

func (m *Mesos) validate(p *structs.Problems) {
	for i, api := range m.Authenticate {
		at := fmt.Sprintf("mesos.authenticate[%d]", i)
		switch {
		case !slices.Contains(mesosAPIs, api):
			e := p.Add(at, "%q is not scheduler, operator or executor", api)
			if near := structs.Nearest(strings.ToLower(api), mesosAPIs); near != "" {
				e.Advise("did you mean %q?", near)
			}
		case api != ExecutorAPI && len(m.Principals) == 0:
			p.Add(at, "there is no principal, so nobody could use the API").Advise("write credentials, or a principal block")
		}
	}
	if n := len(m.Principals); n > maxPrincipals {
		p.Add("mesos.principal", "%d principals are more than %d", n, maxPrincipals)
		return
	}
	seen := map[string]bool{}
	unfit := func(s string, most int) bool {
		return s == "" || len(s) > most || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
	}
	for _, x := range m.Principals {
		at := "mesos.principal." + x.Name
		switch {
		case unfit(x.Name, structs.MaxFrameworkText) || strings.Contains(x.Name, ":"):
			p.Add("mesos.principal", "%.100q is no principal", x.Name).Advise("1 to %d characters without colons and control characters", structs.MaxFrameworkText)
		case seen[x.Name]:
			p.Add(at, "the principal has two secrets").Advise("a block and the credentials file may both name it")
		case unfit(x.Secret.Reveal(), 1024):
			p.Add(at, "it has no secret, or one of more than 1024 characters or with control characters")
		}
		seen[x.Name] = true
	}
}

// Secrets returns the secret of each principal.
func (m *Mesos) Secrets() map[string]string {
	all := make(map[string]string, len(m.Principals))
	for _, x := range m.Principals {
		all[x.Name] = x.Secret.Reveal()
	}
	return all
}

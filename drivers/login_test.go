package drivers

import (
	"strings"
	"testing"

	"github.com/distribution/reference"
)

func TestLoginFor(t *testing.T) {
	const auth = `{"auth": "bWU6aHVudGVy"}` // me:hunter
	for name, c := range map[string]struct{ config, image, want string }{
		"a registry":        {`{"auths": {"r.example.com:5000": ` + auth + `}, "credsStore": "x"}`, "r.example.com:5000/a/b", "me hunter "},
		"by its address":    {`{"auths": {"https://r.example.com/v2/": ` + auth + `}}`, "r.example.com/b", "me hunter "},
		"Docker Hub":        {`{"auths": {"https://index.docker.io/v1/": ` + auth + `}}`, "busybox", "me hunter "},
		"the older file":    {`{"https://index.docker.io/v1/": ` + auth + `}`, "busybox:1", "me hunter "},
		"in clear":          {`{"auths": {"docker.io": {"username": "me", "password": "a:b"}}}`, "me/x", "me a:b "},
		"a token":           {`{"auths": {"docker.io": {"identitytoken": "t"}}}`, "me/x", "  t"},
		"another registry":  {`{"auths": {"r.example.com": ` + auth + `}}`, "busybox", "nothing"},
		"nothing":           {`{}`, "busybox", "nothing"},
		"no JSON":           {`hunter`, "busybox", "error"},
		"a list":            {`["hunter"]`, "busybox", "error"},
		"no base64":         {`{"auths": {"docker.io": {"auth": "hunter!"}}}`, "busybox", "error"},
		"base64 of no pair": {`{"auths": {"docker.io": {"auth": "aHVudGVy"}}}`, "busybox", "error"},
	} {
		image, err := reference.ParseNormalizedNamed(c.image)
		if err != nil {
			t.Fatal(err)
		}
		l, err := LoginFor([]byte(c.config), image)
		got := "nothing"
		switch {
		case err != nil:
			got = "error"
			if strings.Contains(err.Error(), "hunter") || strings.Contains(err.Error(), "aHVudGVy") {
				t.Errorf("%s: %v", name, err)
			}
		case l != nil:
			got = l.Username + " " + l.Password + " " + l.Token
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

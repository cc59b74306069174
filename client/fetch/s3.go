package fetch

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/proffer/proffer/structs"
)

// s3 gets objects of stores that speak the protocol of Amazon S3: requests as of the web, with a signature of version 4.
type s3 struct {
	web    *web
	stores []Store
}

func (*s3) fixed(*Want) bool { return false }

func (s *s3) fetch(ctx context.Context, j *job, p *part) (unchanged bool, err error) {
	i := slices.IndexFunc(s.stores, func(st Store) bool { return st.Bucket == "" || st.Bucket == j.url.Host })
	if i < 0 {
		return false, structs.Errorf(structs.Forbidden, j.object, "this node knows no store with this bucket").
			Advise("client.artifact.s3 of the node's configuration names stores")
	}
	st := s.stores[i]
	if st.Region == "" {
		st.Region = "us-east-1"
	}
	if st.Endpoint == "" {
		st.Endpoint = "https://s3." + st.Region + ".amazonaws.com"
	}
	at, err := url.Parse(st.Endpoint)
	if err != nil {
		return false, structs.Errorf(structs.Invalid, j.object, "the endpoint of its store is no address")
	}
	at.Path = strings.TrimSuffix(at.Path, "/") + "/" + j.url.Host + j.url.Path
	at.RawPath = s3Path(at.Path) // as it is signed
	return s.web.get(ctx, j, p, at, func(r *http.Request) error {
		if st.AccessKey != "" {
			st.sign(r, time.Now())
		}
		return nil
	})
}

// s3Token is the header with the token of a session.
const s3Token = "X-Amz-Security-Token"

// emptySum is the SHA-256 of a request without a body.
const emptySum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// sign adds the headers of AWS Signature Version 4 to a request without body and query.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
func (st *Store) sign(r *http.Request, now time.Time) {
	now = now.UTC()
	date, day := now.Format("20060102T150405Z"), now.Format("20060102")
	r.Header.Set("X-Amz-Date", date)
	r.Header.Set("X-Amz-Content-Sha256", emptySum)
	names := []string{"host", "x-amz-content-sha256", "x-amz-date"}
	if st.Token != "" {
		r.Header.Set(s3Token, st.Token)
		names = append(names, strings.ToLower(s3Token))
	}
	if r.Header.Get("Range") != "" {
		names = append(names, "range")
	}
	slices.Sort(names)
	var headers strings.Builder
	for _, name := range names {
		value := r.Header.Get(name)
		if name == "host" {
			value = r.URL.Host
		}
		headers.WriteString(name + ":" + strings.TrimSpace(value) + "\n")
	}
	signed := strings.Join(names, ";")
	request := strings.Join([]string{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, headers.String(), signed, emptySum}, "\n")
	scope := day + "/" + st.Region + "/s3/aws4_request"
	sum := sha256.Sum256([]byte(request))
	text := "AWS4-HMAC-SHA256\n" + date + "\n" + scope + "\n" + hex.EncodeToString(sum[:])
	key := []byte("AWS4" + st.SecretKey)
	for _, part := range []string{day, st.Region, "s3", "aws4_request"} {
		key = mac(key, part)
	}
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+st.AccessKey+"/"+scope+", SignedHeaders="+signed+", Signature="+hex.EncodeToString(mac(key, text)))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// s3Path escapes all but letters, digits, -._~ and slashes.
func s3Path(path string) string {
	var b strings.Builder
	for i := range len(path) {
		c := path[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~/", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteString("%" + strings.ToUpper(hex.EncodeToString([]byte{c})))
	}
	return b.String()
}

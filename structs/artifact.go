package structs

import (
	"encoding/hex"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Artifact is a file or archive that is fetched before a task starts, once for each allocation.
type Artifact struct {
	Source      string            `json:"source,omitempty" doc:"Where it is: https://, http://, file:// (below folders that the node's configuration names), s3://BUCKET/KEY, git+https:// (a repository) or oci://REGISTRY/REPO[:TAG][@sha256:DIGEST] (an image, or another artifact of a registry of images). References such as ${attr.cpu.arch} are resolved on the node."`
	Destination string            `json:"destination,omitempty" doc:"Folder below the task folder that it is put into: local, secrets or tmp, or one in them. Default local."`
	Name        string            `json:"name,omitempty" doc:"What the file is called there; without it, the last part of the source's path. Not for what is unpacked."`
	Checksum    string            `json:"checksum,omitempty" doc:"What the file must be, as it arrives: sha256:, sha512:, sha1: or md5: with hexadecimal digits."`
	Ref         string            `json:"ref,omitempty" doc:"Branch, tag or commit of a git repository; without it, its default branch."`
	Unpack      *bool             `json:"unpack,omitempty" doc:"Whether an archive is unpacked (tar, plain or compressed by gzip, bzip2, zstd or xz, and zip); without it, when the source's path ends as those of archives do."`
	Mode        string            `json:"mode,omitempty" doc:"Mode of the file in octal, such as 0755 for a program. Default 0644. Not for what is unpacked."`
	Headers     map[string]string `json:"headers,omitempty" hcl:"map" doc:"Headers of the request, for http and https. They are not sent to another host that the answer leads to."`
}

// Bounds of artifacts.
const (
	MaxArtifacts = 100 // of a task
	maxSource    = 4096
	maxHeaders   = 32
)

// ArtifactSchemes are the ways to fetch something.
var ArtifactSchemes = []string{"https", "http", "file", "s3", "git+https", "git+http", "git+file", "oci"}

// Sums are the algorithms of checksums, with the length of theirs in hexadecimal digits.
var Sums = map[string]int{"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}

// CheckSum says what is wrong with a checksum; empty: nothing.
func CheckSum(s string) (why string) {
	kind, digits, ok := strings.Cut(s, ":")
	n, known := Sums[kind]
	switch _, err := hex.DecodeString(digits); {
	case !ok || !known:
		return "it does not begin with sha256:, sha512:, sha1: or md5:"
	case err != nil || len(digits) != n:
		return "it does not have the hexadecimal digits of a " + kind
	}
	return ""
}

// Source is where an artifact is, as far as it can be looked at without a node.
type Source struct {
	Scheme string // one of ArtifactSchemes
	Host   string // with port
	Path   string // as it is written
}

// String is the source without what may be secret in it: user, password and query.
func (s Source) String() string { return s.Scheme + "://" + s.Host + s.Path }

// ParseSource reads the source of an artifact in which no reference is left. Its errors say nothing that may be secret.
func ParseSource(text string) (Source, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }) || len(text) > maxSource {
		return Source{}, Errorf(Invalid, "source", "it is no address such as https://host/path")
	}
	if strings.Contains(rest, "#") {
		return Source{}, Errorf(Invalid, "source", "an address of a file has no #")
	}
	rest, _, _ = strings.Cut(rest, "?")
	host, file, _ := strings.Cut(rest, "/")
	s := Source{scheme, host[strings.LastIndexByte(host, '@')+1:], "/" + file}
	object := "source " + s.String()
	switch {
	case !slices.Contains(ArtifactSchemes, scheme):
		return Source{}, Errorf(Invalid, "source", "%.40q is no way to fetch something", scheme).Advise("there are %s", strings.Join(ArtifactSchemes, ", "))
	case scheme == "file" || scheme == "git+file":
		if host != "" || path.Clean(s.Path) != s.Path {
			return Source{}, Errorf(Invalid, object, "it is no absolute path").Advise("write file:///path")
		}
	case s.Host == "":
		return Source{}, Errorf(Invalid, object, "it has no host")
	}
	if s.Path == "/" {
		return Source{}, Errorf(Invalid, object, "it names no file")
	}
	if scheme == "oci" && (!ociPath.MatchString(s.Path) || !strings.ContainsAny(s.Host, ".:") && s.Host != "localhost") {
		return Source{}, Errorf(Invalid, object, "it is no image or artifact of a registry").
			Advise("write oci://registry.example.com/name:tag, or …/name@sha256:DIGEST")
	}
	return s, nil
}

var (
	artifactPlace = regexp.MustCompile(`^(local|secrets|tmp)(/|$)`)
	ociPath       = regexp.MustCompile(`^/[a-z0-9]+([._/-]+[a-z0-9]+)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$`)
	headerName    = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$")
	gitRef        = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_./@+-]{0,255}$`)
)

// Problems collects what is wrong with an artifact. What has references is looked at once they are resolved.
func (a *Artifact) Problems(p *Problems, at string) {
	open := func(s string) bool { return strings.Contains(s, "${") }
	var u *Source
	if a.Source == "" {
		p.Add(at+".source", "an artifact needs a source").Advise("such as https://example.com/app.tar.gz")
	} else if !open(a.Source) {
		if parsed, err := ParseSource(a.Source); err == nil {
			u = &parsed
		} else {
			e := *AsError(err)
			e.Object = at + "." + e.Object
			*p = append(*p, &e)
		}
	}
	if d := a.Destination; !open(d) {
		switch {
		case strings.HasPrefix(d, "/") || slices.Contains(strings.Split(d, "/"), "..") || strings.ContainsAny(d, "\\\x00") || len(d) > 1024:
			p.Add(at+".destination", "%q is not a path below the task folder", d).Advise("write it relative, such as local/app")
		case !artifactPlace.MatchString(path.Clean(d)):
			p.Add(at+".destination", "%q is not where tasks have files", d).Advise("use local, secrets or tmp, or a folder in them")
		}
	}
	if n := a.Name; n != "" && !open(n) && (strings.ContainsAny(n, "/\\\x00") || n == "." || n == ".." || len(n) > 200) {
		p.Add(at+".name", "%q is not the name of a file", n)
	}
	if a.Checksum != "" && !open(a.Checksum) {
		if why := CheckSum(a.Checksum); why != "" {
			p.Add(at+".checksum", "%s", why)
		}
	}
	git, oci := u != nil && strings.HasPrefix(u.Scheme, "git+"), u != nil && u.Scheme == "oci"
	switch {
	case a.Ref != "" && oci:
		p.Add(at+".ref", "what a registry has is named in the source").Advise("write oci://REGISTRY/NAME:TAG")
	case oci && a.Checksum != "":
		p.Add(at+".checksum", "what a registry has is checked by its digest").Advise("write oci://REGISTRY/NAME@sha256:DIGEST")
	case a.Ref != "" && u != nil && !git:
		p.Add(at+".ref", "only a git repository has branches and tags").Advise("write the source as git+https://…")
	case a.Ref != "" && !open(a.Ref) && (!gitRef.MatchString(a.Ref) || strings.Contains(a.Ref, "..")):
		p.Add(at+".ref", "%q is not a branch, tag or commit", a.Ref)
	case git && a.Unpack != nil && !*a.Unpack:
		p.Add(at+".unpack", "a repository is always unpacked")
	case git && a.Checksum != "":
		p.Add(at+".checksum", "a repository has none").Advise("name a commit in ref")
	}
	if !filePerms.MatchString(a.Mode) {
		p.Add(at+".mode", "%q is not a mode", a.Mode).Advise(`three octal digits, such as "0755"`)
	}
	if len(a.Headers) > maxHeaders {
		p.Add(at+".headers", "%d headers are more than %d", len(a.Headers), maxHeaders)
	}
	if u != nil && len(a.Headers) > 0 && u.Scheme != "http" && u.Scheme != "https" {
		p.Add(at+".headers", "only http and https have headers")
	}
	for _, name := range slices.Sorted(maps.Keys(a.Headers)) {
		if !headerName.MatchString(name) || strings.ContainsAny(a.Headers[name], "\r\n\x00") {
			p.Add(at+".headers."+name, "it is not a header of a request")
		} else if slices.Contains([]string{"host", "range", "if-range", "if-none-match", "if-modified-since", "accept-encoding", "content-length", "transfer-encoding", "connection"},
			strings.ToLower(name)) {
			p.Add(at+".headers."+name, "the node sets this header itself")
		}
	}
}

func checkArtifacts(p *Problems, at string, artifacts []*Artifact) {
	if len(artifacts) > MaxArtifacts {
		p.Add(at+".artifact", "%d artifacts are more than %d", len(artifacts), MaxArtifacts)
	}
	for i, a := range artifacts {
		if a == nil {
			p.Add(index(at+".artifact", i), "an artifact is missing (null)")
			continue
		}
		a.Problems(p, index(at+".artifact", i))
	}
}

// Unpacked reports whether what comes from the path is unpacked.
func (a *Artifact) Unpacked(sourcePath string) bool {
	if a.Unpack != nil {
		return *a.Unpack
	}
	name := strings.ToLower(path.Base(sourcePath))
	for _, end := range []string{".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.zst", ".tzst", ".tar.xz", ".txz", ".zip"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

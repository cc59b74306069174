package config

import (
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	"github.com/proffer/proffer/structs"
)

// Artifact configures what tasks are given from elsewhere.
type Artifact struct {
	CacheSize   structs.Bytes    `json:"cache_size,omitempty" doc:"What is kept of artifacts on the disk; what was used least recently goes first. Default 10GiB."`
	MaxSize     structs.Bytes    `json:"max_size,omitempty" doc:"An artifact that is larger, as it arrives, is refused. Default 10GiB."`
	MaxUnpacked structs.Bytes    `json:"max_unpacked,omitempty" doc:"An archive that is larger, unpacked, is refused. Default 50GiB."`
	Parallel    int              `json:"parallel,omitempty" doc:"Transfers at the same time. Default 4."`
	Timeout     structs.Duration `json:"timeout,omitempty" doc:"How long one transfer may take; the next one goes on where it ended. Default 1h."`
	Stall       structs.Duration `json:"stall,omitempty" doc:"A transfer that brings nothing for so long is cut and resumed. Default 30s."`
	Folders     []string         `json:"folders,omitempty" doc:"Folders of the node from which jobs may fetch with file:// and git+file://, with all below them. Whoever may submit jobs may read them. Default: none."`
	S3          []*S3            `json:"s3,omitempty" hcl:"block" doc:"A store for s3://."`
}

// S3 is how to reach a store of objects.
type S3 struct {
	Bucket        string `json:"bucket" hcl:"label" doc:"The bucket, or * for all that have no block."`
	Endpoint      string `json:"endpoint,omitempty" doc:"Its address, such as https://minio.example.com:9000. Without it, that of Amazon in the region."`
	Region        string `json:"region,omitempty" doc:"Its region, us-east-1 unless it says otherwise."`
	AccessKey     string `json:"access_key,omitempty" doc:"Who asks. Without it nobody, for buckets that are public."`
	SecretKey     Secret `json:"secret_key,omitempty" doc:"The key that requests are signed with; give it by secret_key_file rather than here."`
	SecretKeyFile string `json:"secret_key_file,omitempty" doc:"A file that holds the key."`
}

func (a *Artifact) defaults() {
	setDefault(&a.CacheSize, 10<<30)
	setDefault(&a.MaxSize, 10<<30)
	setDefault(&a.MaxUnpacked, 50<<30)
	setDefault(&a.Parallel, 4)
	setDefault(&a.Timeout, structs.Duration(time.Hour))
	setDefault(&a.Stall, structs.Duration(30*time.Second))
	for _, s := range a.S3 {
		setDefault(&s.Region, "us-east-1")
	}
}

func (a *Artifact) secrets(p *structs.Problems) {
	if a == nil {
		return
	}
	for _, s := range a.S3 {
		secretOf(p, "client.artifact.s3."+s.Bucket, "secret_key", s.SecretKeyFile, &s.SecretKey)
	}
}

func (a *Artifact) validate(p *structs.Problems) {
	if a == nil {
		return
	}
	for name, size := range map[string]structs.Bytes{"cache_size": a.CacheSize, "max_size": a.MaxSize, "max_unpacked": a.MaxUnpacked} {
		if size < 1<<20 || size > 1<<50 {
			p.Add("client.artifact."+name, "%s is not from 1MiB to 1PiB", size)
		}
	}
	number(p, "client.artifact.parallel", a.Parallel, 1, 1000)
	duration(p, "client.artifact.timeout", a.Timeout, time.Second, 7*24*time.Hour)
	duration(p, "client.artifact.stall", a.Stall, time.Second, time.Hour)
	for i, dir := range a.Folders {
		if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
			p.Add(fmt.Sprintf("client.artifact.folders[%d]", i), "%q is not an absolute path", dir)
		}
	}
	seen := map[string]bool{}
	for _, s := range a.S3 {
		at := "client.artifact.s3." + s.Bucket
		if seen[s.Bucket] {
			p.Add(at, "the bucket has two blocks")
		}
		seen[s.Bucket] = true
		if u, err := url.Parse(s.Endpoint); s.Endpoint != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.User != nil) {
			p.Add(at+".endpoint", "it is no address such as https://host:port")
		}
		if (s.AccessKey == "") != (s.SecretKey == "") {
			p.Add(at, "access_key and secret_key belong together")
		}
	}
}

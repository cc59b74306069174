package fetch

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/proffer/proffer/structs"
)

// errSum: what arrived is not what it should be.
var errSum = errors.New("the checksum does not match")

// job is one transfer.
type job struct {
	Want
	url    *url.URL
	object string
	known  *entry // of what the cache has; nil: nothing
}

// part is a file on its way here. It belongs to one transfer.
type part struct {
	c        *Cache
	key      string
	f        *os.File
	path     string
	have     int64
	sum      hash.Hash // of the bytes up to have
	entry    entry     // what the source said of it
	limit    int64
	progress *progress
}

// part opens what an earlier transfer left, or a new one.
func (c *Cache) part(key string) (*part, error) {
	p := &part{c: c, key: key, path: c.path("parts", key), sum: sha256.New(), limit: int64(c.opts.MaxSize), progress: c.progress(key)}
	var err error
	if p.f, err = os.OpenFile(p.path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	if e := readEntry(p.path + ".json"); e != nil && e.Boot == c.opts.Boot { // what came before a loss of power may not be there
		p.entry = *e
		p.have, err = io.Copy(p.sum, io.LimitReader(p.f, p.limit))
	}
	if err == nil && p.entry.ETag == "" && p.entry.Modified == "" { // nobody could say whether it is still of the same file
		err = p.restart(entry{})
	}
	if err != nil {
		p.f.Close()
		return nil, err
	}
	return p, nil
}

// restart begins anew with a file of which the source says e.
func (p *part) restart(e entry) error {
	p.sum.Reset()
	p.have, p.entry = 0, e
	if err := p.f.Truncate(0); err != nil {
		return err
	}
	if e.ETag == "" && e.Modified == "" {
		os.Remove(p.path + ".json")
		return nil
	}
	e.Boot = p.c.opts.Boot
	return p.c.writeEntry(p.path+".json", &e)
}

// rewind forgets what came behind the first bytes.
func (p *part) rewind(to int64) error {
	if err := p.f.Truncate(to); err != nil {
		return err
	}
	p.sum.Reset()
	p.have = to
	_, err := io.Copy(p.sum, io.NewSectionReader(p.f, 0, to))
	return err
}

// Write adds what arrived.
func (p *part) Write(b []byte) (int, error) {
	if p.have+int64(len(b)) > p.limit {
		return 0, structs.Errorf(structs.Invalid, "artifact", "it has more than %s", structs.Bytes(p.limit).Human()).
			Advise("client.artifact.max_size of the node bounds it")
	}
	n, err := p.f.WriteAt(b, p.have)
	p.sum.Write(b[:n])
	p.have += int64(n)
	return n, err
}

// check compares it with the checksum that was asked for.
func (p *part) check(j *job) error {
	kind, want, ok := strings.Cut(j.Checksum, ":")
	if !ok {
		return nil
	}
	sum := p.sum
	switch kind {
	case "md5":
		sum = md5.New()
	case "sha1":
		sum = sha1.New()
	case "sha512":
		sum = sha512.New()
	}
	if sum != p.sum {
		if _, err := io.Copy(sum, io.NewSectionReader(p.f, 0, p.have)); err != nil {
			return err
		}
	}
	if got := hex.EncodeToString(sum.Sum(nil)); !strings.EqualFold(got, want) {
		e := structs.Errorf(structs.Invalid, j.object, "%w: %s:%s is wanted, and what came is %s:%s, %d bytes", errSum, kind, strings.ToLower(want), kind, got, p.have)
		return e.Advise("correct checksum in the job, or what the source has")
	}
	return nil
}

func (p *part) remove() {
	os.Remove(p.path)
	os.Remove(p.path + ".json")
}

func (p *part) close() { p.f.Close() }

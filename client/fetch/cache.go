package fetch

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/flight"
	"github.com/proffer/proffer/structs"
)

// maxEntries bounds what is remembered of sources: those with a signature in them are new each time.
const maxEntries = 10_000

// Cache holds what was fetched. Its methods may be called from any goroutine.
//
//	blobs/SHA256   a file as it arrived; complete, and what its name says
//	index/KEY      what came from a source: an entry
//	parts/KEY      what is still on its way, with the entry that it would become in parts/KEY.json
type Cache struct {
	opts    Options
	sources map[string]source // by scheme
	flights flight.Group
	slots   chan struct{}

	mu     sync.Mutex
	index  map[string]*entry // by key
	blobs  map[string]*blob  // by sum
	wanted map[string]int    // keys that somebody is about to hold
	moving map[string]*progress
	total  int64
}

// entry is what is known of one source.
type entry struct {
	Sum      string `json:"sum"`                // SHA-256 of the file
	Checksum string `json:"checksum,omitempty"` // that was asked for, and checked
	ETag     string `json:"etag,omitempty"`     // validator of the source: an entity tag, the commit of a repository, …
	Modified string `json:"modified,omitempty"`
	Boot     string `json:"boot,omitempty"` // of a part: the boot of the machine in which it was begun
	used     time.Time
}

type blob struct {
	size  int64
	used  time.Time
	holds int
}

// Open opens the cache, and removes what a kill left in it. One process uses it at a time.
func Open(opts Options) (*Cache, error) {
	opts.fill()
	c := &Cache{opts: opts, slots: make(chan struct{}, opts.Parallel), index: map[string]*entry{}, blobs: map[string]*blob{}, wanted: map[string]int{},
		moving: map[string]*progress{}}
	c.sources = c.allSources()
	for _, dir := range []string{"", "blobs", "index", "parts", "tmp"} {
		if err := os.MkdirAll(c.path(dir), 0o700); err != nil {
			return nil, drivers.DiskError("fetch cache", err)
		}
	}
	if err := c.load(); err != nil {
		return nil, drivers.DiskError("fetch cache", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.evict(int64(opts.Size))
	return c, nil
}

func (c *Cache) path(elem ...string) string {
	return filepath.Join(append([]string{c.opts.Dir}, elem...)...)
}

// load reads what is there. What cannot be used is removed.
func (c *Cache) load() error {
	if err := c.each("tmp", func(name string, _ fs.FileInfo) { os.RemoveAll(c.path("tmp", name)) }); err != nil {
		return err
	}
	err := c.each("blobs", func(name string, info fs.FileInfo) {
		if !info.Mode().IsRegular() || len(name) != 2*sha256.Size {
			os.RemoveAll(c.path("blobs", name))
			return
		}
		c.blobs[name] = &blob{size: info.Size(), used: info.ModTime()}
		c.total += info.Size()
	})
	if err != nil {
		return err
	}
	err = c.each("index", func(name string, info fs.FileInfo) {
		e := readEntry(c.path("index", name))
		if e == nil || c.blobs[e.Sum] == nil {
			os.Remove(c.path("index", name))
			return
		}
		e.used = info.ModTime()
		c.index[name] = e
	})
	if err != nil {
		return err
	}
	old := time.Now().Add(-7 * 24 * time.Hour)
	return c.each("parts", func(name string, info fs.FileInfo) {
		if info.ModTime().Before(old) {
			os.Remove(c.path("parts", name))
		}
	})
}

func (c *Cache) each(dir string, do func(string, fs.FileInfo)) error {
	list, err := os.ReadDir(c.path(dir))
	for _, d := range list {
		if info, err := d.Info(); err == nil {
			do(d.Name(), info)
		}
	}
	return err
}

func readEntry(path string) *entry {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	e := &entry{}
	if json.Unmarshal(raw, e) != nil || len(e.Sum) != 2*sha256.Size && e.Sum != "" || strings.ContainsAny(e.Sum, "/.") {
		return nil
	}
	return e
}

// writeEntry replaces a file. It is not brought to the disk: one that is lost or empty costs a transfer.
func (c *Cache) writeEntry(path string, e *entry) error {
	raw, err := json.Marshal(e)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(c.path("tmp"), "entry-")
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// key names what a want asks for: what one may fetch, another gets only with the same address and headers.
func (w *Want) key() string {
	h := sha256.New()
	json.NewEncoder(h).Encode(struct {
		Source, Ref, Checksum string
		Headers               map[string]string
	}{w.Source, w.Ref, strings.ToLower(w.Checksum), w.Headers})
	return hex.EncodeToString(h.Sum(nil))
}

// Item is a file of the cache. It stays until Release.
type Item struct {
	Path   string
	Size   int64
	Sum    string // SHA-256
	Cached bool   // nothing was transferred
	c      *Cache
	once   sync.Once
}

// Release lets the cache remove it when it is full.
func (i *Item) Release() {
	i.once.Do(func() {
		i.c.mu.Lock()
		defer i.c.mu.Unlock()
		if b := i.c.blobs[i.Sum]; b != nil {
			b.holds--
		}
		i.c.evict(int64(i.c.opts.Size))
	})
}

// Get returns what is wanted, from the cache where the source says that it did not change, or need not be asked: a checksum or
// a commit means the same for ever. Whoever wants the same at the same time shares a transfer. Kinds of the error: Invalid,
// NotFound and Forbidden, it can never succeed as it is; Unavailable and Exhausted, trying again may help, and goes on where this ended.
func (c *Cache) Get(ctx context.Context, w Want) (*Item, error) {
	u, public, err := parse(w.Source)
	if err != nil {
		return nil, err
	}
	src := c.sources[u.Scheme]
	object := "artifact " + public
	if src == nil {
		return nil, structs.Errorf(structs.Invalid, object, "%s:// is not known to this node", u.Scheme)
	}
	if w.Checksum != "" {
		if why := structs.CheckSum(w.Checksum); why != "" {
			return nil, structs.Errorf(structs.Invalid, object, "its checksum: %s", why)
		}
	}
	key := w.key()
	if w.Checksum != "" || src.fixed(&w) {
		if item := c.hold(key); item != nil {
			item.Cached = true
			return item, nil
		}
	}
	c.want(key, 1)
	defer c.want(key, -1)
	stop := c.follow(key, w.Say)
	defer stop()
	cached := true
	for range 3 {
		err = c.flights.Do(ctx, key, "", func(ctx context.Context) error {
			same, err := c.transfer(ctx, object, key, src, &job{Want: w, url: u})
			cached = same
			return err
		})
		if err != nil {
			return nil, c.explain(object, err)
		}
		if item := c.hold(key); item != nil {
			item.Cached = cached
			return item, nil
		}
	}
	return nil, structs.Errorf(structs.Unavailable, object, "it was removed as soon as it was there")
}

// explain gives an error its kind.
func (c *Cache) explain(object string, err error) error {
	var known *structs.Error
	switch {
	case errors.As(err, &known), errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return structs.Errorf(structs.Unavailable, object, "the transfer took more than %v", c.opts.Timeout)
	case errors.As(err, new(*fs.PathError)), errors.As(err, new(*os.LinkError)), errors.As(err, new(syscall.Errno)):
		return drivers.DiskError(object, err)
	}
	return structs.Errorf(structs.Unavailable, object, "%w", err)
}

func (c *Cache) want(key string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wanted[key] += n; c.wanted[key] == 0 {
		delete(c.wanted, key)
	}
}

// hold returns what is there under a key; nil: nothing.
func (c *Cache) hold(key string) *Item {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.index[key]
	if e == nil {
		return nil
	}
	b := c.blobs[e.Sum]
	path := c.path("blobs", e.Sum)
	if info, err := os.Lstat(path); b == nil || err != nil || info.Size() != b.size { // somebody else was here
		if b != nil && b.holds == 0 {
			c.drop(e.Sum)
		}
		return nil
	}
	now := time.Now()
	e.used, b.used = now, now
	os.Chtimes(path, now, now)
	b.holds++
	return &Item{Path: path, Size: b.size, Sum: e.Sum, c: c}
}

// drop forgets a blob and what leads to it. The caller holds mu.
func (c *Cache) drop(sum string) {
	for key, e := range c.index {
		if e.Sum == sum {
			c.forget(key)
		}
	}
	if b := c.blobs[sum]; b != nil {
		c.total -= b.size
		delete(c.blobs, sum)
	}
	os.Remove(c.path("blobs", sum))
}

func (c *Cache) forget(key string) {
	delete(c.index, key)
	os.Remove(c.path("index", key))
}

// evict removes what was used least recently and nobody holds until at most size bytes are left. The caller holds mu. It returns
// how many bytes went.
func (c *Cache) evict(size int64) (freed int64) {
	if len(c.index) > maxEntries {
		keys := make([]string, 0, len(c.index))
		for key := range c.index {
			keys = append(keys, key)
		}
		slices.SortFunc(keys, func(a, b string) int { return c.index[a].used.Compare(c.index[b].used) })
		for _, key := range keys[:len(keys)-maxEntries*9/10] {
			if c.wanted[key] == 0 {
				c.forget(key)
			}
		}
	}
	if c.total <= size {
		return 0
	}
	keep := map[string]bool{}
	for key := range c.wanted {
		if e := c.index[key]; e != nil {
			keep[e.Sum] = true
		}
	}
	sums := make([]string, 0, len(c.blobs))
	for sum, b := range c.blobs {
		if b.holds == 0 && !keep[sum] {
			sums = append(sums, sum)
		}
	}
	slices.SortFunc(sums, func(a, b string) int {
		return cmp.Or(c.blobs[a].used.Compare(c.blobs[b].used), strings.Compare(a, b))
	})
	for _, sum := range sums {
		if c.total <= size {
			break
		}
		freed += c.blobs[sum].size
		c.drop(sum)
	}
	if freed > 0 {
		c.opts.Logger.Debug("artifacts left the cache", "bytes", freed)
	}
	return freed
}

// Used returns how many bytes the cache holds.
func (c *Cache) Used() structs.Bytes {
	c.mu.Lock()
	defer c.mu.Unlock()
	return structs.Bytes(c.total)
}

// Size returns how many it may hold.
func (c *Cache) Size() structs.Bytes { return c.opts.Size }

// transfer gets what is wanted into the cache; unchanged: the source said that what is here is still right. It is the only one of its key.
func (c *Cache) transfer(ctx context.Context, object, key string, src source, j *job) (unchanged bool, err error) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	j.object = object
	c.mu.Lock()
	if e := c.index[key]; e != nil && c.blobs[e.Sum] != nil {
		known := *e
		j.known = &known
	}
	c.mu.Unlock()
	for try := 0; ; try++ {
		unchanged, again, err := c.attempt(ctx, key, src, j)
		full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
		switch {
		case try > 0:
			return unchanged, err
		case full:
			c.mu.Lock()
			freed := c.evict(0)
			c.mu.Unlock()
			if freed == 0 {
				return false, err
			}
		case !again:
			return unchanged, err
		}
	}
}

// attempt is one transfer. again: what failed may be the fault of what an earlier one left.
func (c *Cache) attempt(ctx context.Context, key string, src source, j *job) (unchanged, again bool, err error) {
	p, err := c.part(key)
	if err != nil {
		return false, false, err
	}
	defer p.close()
	resumed := p.have > 0
	unchanged, err = src.fetch(ctx, j, p)
	if err == nil && unchanged {
		p.remove()
		return true, false, nil
	}
	if err == nil {
		err = p.check(j)
	}
	if err == nil {
		err = c.keep(key, p, j)
	}
	if errors.Is(err, errSum) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		p.remove()
		return false, resumed, err
	}
	return false, false, err
}

// keep makes a blob of a part that is complete.
func (c *Cache) keep(key string, p *part, j *job) error {
	if err := p.f.Sync(); err != nil {
		return err
	}
	e := p.entry
	e.Boot = ""
	e.Sum, e.Checksum, e.used = hex.EncodeToString(p.sum.Sum(nil)), j.Checksum, time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.blobs[e.Sum]; b == nil {
		if err := os.Rename(p.path, c.path("blobs", e.Sum)); err != nil {
			return err
		}
		c.blobs[e.Sum] = &blob{size: p.have, used: e.used}
		c.total += p.have
	}
	p.remove()
	if err := c.writeEntry(c.path("index", key), &e); err != nil {
		return err
	}
	c.index[key] = &e
	c.evict(int64(c.opts.Size))
	return nil
}

// progress is how far a transfer is.
type progress struct {
	mu          sync.Mutex
	have, whole int64 // whole: 0 when it is not known
	followers   int
}

func (p *progress) at(have, whole int64) {
	p.mu.Lock()
	p.have, p.whole = have, whole
	p.mu.Unlock()
}

func (p *progress) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.have == 0:
		return ""
	case p.whole > 0:
		return fmt.Sprintf("%s of %s", structs.Bytes(p.have).Human(), structs.Bytes(p.whole).Human())
	}
	return structs.Bytes(p.have).Human()
}

// follow tells of the progress under a key each second until stop is called.
func (c *Cache) follow(key string, say func(string)) (stop func()) {
	c.mu.Lock()
	p := c.moving[key]
	if p == nil {
		p = &progress{}
		c.moving[key] = p
	}
	p.followers++
	c.mu.Unlock()
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		if say == nil {
			return
		}
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				if text := p.text(); text != "" {
					say(text)
				}
			case <-end:
				return
			}
		}
	}()
	return func() {
		close(end)
		<-ended
		c.mu.Lock()
		defer c.mu.Unlock()
		if p.followers--; p.followers == 0 {
			delete(c.moving, key)
		}
	}
}

func (c *Cache) progress(key string) *progress {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.moving[key]; p != nil {
		return p
	}
	return &progress{}
}

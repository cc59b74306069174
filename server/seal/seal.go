// Package seal keeps the keys that the variables of a region are sealed with, and seals and opens with them.
//
// The state names keys by a hash of them, so that what a peer sends is known to be the key or not to be it. What is sealed is bound to
// the path of the variable: it opens nowhere else.
package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/proffer/proffer/client/replace"
	"github.com/proffer/proffer/structs"
)

const (
	keySize = 32    // AES-256
	maxRing = 1_000 // keys of a ring
)

// NewKey returns a new random key.
func NewKey() []byte {
	key := make([]byte, keySize)
	rand.Read(key)
	return key
}

// ID names a key: 32 hex digits of its hash.
func ID(key []byte) string {
	sum := sha256.Sum256(append([]byte("proffer region key\x00"), key...))
	return hex.EncodeToString(sum[:16])
}

// Ring are the keys that a server has. Its methods may be called from any goroutine.
type Ring struct {
	path string // empty: in memory

	mu   sync.Mutex
	keys map[string][]byte // by id; replaced, not changed
}

// kept is what the file of a ring holds.
type kept struct {
	Keys map[string][]byte `json:"keys"`
}

// Open reads the ring that is kept at path, which need not exist. An empty path keeps it in memory.
func Open(path string) (*Ring, error) {
	r := &Ring{path: path, keys: map[string][]byte{}}
	if path == "" {
		return r, nil
	}
	raw, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r, nil
	case err != nil:
		return nil, structs.Errorf(structs.Unavailable, path, "the keys of the region cannot be read: %w", err)
	}
	var file kept
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, structs.Errorf(structs.Invalid, path, "it does not hold keys of a region: %w", err).
			Advise("move it away: the server gets the keys from the other ones")
	}
	for id, key := range file.Keys {
		if len(key) != keySize || ID(key) != id {
			return nil, structs.Errorf(structs.Invalid, path, "key %s is damaged", structs.Short(id)).
				Advise("move the file away: the server gets the keys from the other ones")
		}
	}
	if file.Keys != nil {
		r.keys = file.Keys
	}
	return r, nil
}

// IDs returns the ids of the keys, sorted.
func (r *Ring) IDs() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.keys))
}

// Key returns a key.
func (r *Ring) Key(id string) ([]byte, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key, ok := r.keys[id]
	return key, ok
}

// Add keeps keys: they are on the disk when it returns.
func (r *Ring) Add(keys ...[]byte) error {
	return r.change(func(all map[string][]byte) error {
		for _, key := range keys {
			if len(key) != keySize {
				return structs.Errorf(structs.Invalid, "key of the region", "it has %d bytes and must have %d", len(key), keySize)
			}
			all[ID(key)] = key
		}
		if len(all) > maxRing {
			return structs.Errorf(structs.Exhausted, "keys of the region", "%d are more than %d", len(all), maxRing)
		}
		return nil
	})
}

// Drop forgets a key. One that is not there is no error.
func (r *Ring) Drop(id string) error {
	return r.change(func(all map[string][]byte) error {
		delete(all, id)
		return nil
	})
}

func (r *Ring) change(f func(all map[string][]byte) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := maps.Clone(r.keys)
	if err := f(all); err != nil {
		return err
	}
	if maps.EqualFunc(all, r.keys, bytes.Equal) {
		return nil
	}
	if r.path != "" {
		raw, err := json.Marshal(&kept{all})
		if err == nil {
			err = replace.Bytes(r.path, raw)
		}
		if err != nil {
			return structs.Errorf(structs.Unavailable, r.path, "the keys of the region cannot be kept: %w", err)
		}
	}
	r.keys = all
	return nil
}

// Missing is the error of what needs a key that the ring has not.
type Missing struct{ ID string }

func (e *Missing) Error() string { return "key " + structs.Short(e.ID) + " is not on this server" }

func (r *Ring) cipher(id string) (cipher.AEAD, error) {
	key, ok := r.Key(id)
	if !ok {
		return nil, &Missing{id}
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Seal seals the values of the variable at path. Its error is *Missing when the ring has no such key.
func (r *Ring) Seal(id, path string, items map[string]string) (structs.Sealed, error) {
	aead, err := r.cipher(id)
	if err != nil {
		return structs.Sealed{}, err
	}
	return structs.Sealed{Key: id, Data: aead.Seal(nil, nil, pack(items), []byte(path))}, nil
}

// Open opens what Seal sealed. Its error is *Missing when the ring has not the key; what was changed, or is of another path, is Invalid.
func (r *Ring) Open(path string, s structs.Sealed) (map[string]string, error) {
	aead, err := r.cipher(s.Key)
	if err != nil {
		return nil, err
	}
	raw, err := aead.Open(nil, nil, s.Data, []byte(path))
	if err != nil {
		return nil, structs.Errorf(structs.Invalid, "variable "+path, "it is damaged: it cannot be opened with its key")
	}
	return unpack(raw)
}

// Size is what values take, as quotas count it.
func Size(items map[string]string) (n structs.Bytes) {
	for name, value := range items {
		n += structs.Bytes(len(name) + len(value))
	}
	return n
}

// pack writes names and values with their lengths, in order.
func pack(items map[string]string) (out []byte) {
	for _, name := range slices.Sorted(maps.Keys(items)) {
		for _, part := range []string{name, items[name]} {
			out = append(binary.AppendUvarint(out, uint64(len(part))), part...)
		}
	}
	return out
}

func unpack(raw []byte) (map[string]string, error) {
	items := map[string]string{}
	var parts []string
	for len(raw) > 0 {
		n, size := binary.Uvarint(raw)
		if size <= 0 || n > uint64(len(raw)-size) {
			return nil, structs.Errorf(structs.Invalid, "variable", "what was sealed is cut off")
		}
		parts, raw = append(parts, string(raw[size:size+int(n)])), raw[size+int(n):]
	}
	if len(parts)%2 != 0 {
		return nil, structs.Errorf(structs.Invalid, "variable", "what was sealed is cut off")
	}
	for i := 0; i < len(parts); i += 2 {
		items[parts[i]] = parts[i+1]
	}
	return items, nil
}

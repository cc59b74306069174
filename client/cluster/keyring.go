package cluster

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"

	"github.com/hashicorp/memberlist"

	"github.com/proffer/proffer/client/replace"
	"github.com/proffer/proffer/structs"
)

// Keyring holds the gossip keys of an agent, at most 8, the primary one first. Packets are encrypted with the primary
// one and connections are proved with any. It is safe for concurrent use and may be kept in a file.
type Keyring struct {
	mu   sync.Mutex // guards changes; ring has its own lock
	path string     // "" when it is not kept
	ring *memberlist.Keyring

	configured []string // keys that the file is bound to
}

// NewKey returns a new random key of 32 bytes in base64.
func NewKey() string {
	var key [32]byte
	rand.Read(key[:])
	return base64.StdEncoding.EncodeToString(key[:])
}

// NewKeyring makes a keyring of base64 keys that is not kept. The first one is the primary; without any it is Invalid.
func NewKeyring(keys ...string) (*Keyring, error) {
	if len(keys) == 0 {
		return nil, structs.Errorf(structs.Invalid, "keyring", "has no key")
	}
	if len(keys) > maxKeys {
		return nil, structs.Errorf(structs.Exhausted, "keyring", "has more than %d keys", maxKeys)
	}
	raw := make([][]byte, len(keys))
	for i, text := range keys {
		var err error
		if raw[i], err = parseKey(text); err != nil {
			return nil, err
		}
	}
	ring, err := memberlist.NewKeyring(raw, raw[0])
	if err != nil {
		return nil, structs.Errorf(structs.Invalid, "keyring", "%w", err)
	}
	return &Keyring{ring: ring}, nil
}

// kept is what the file of a keyring holds.
type kept struct {
	Configured []string // keys of the configuration that it was made from
	Keys       []string // keys now, primary first
}

// OpenKeyring reads the keyring that is kept at path. When there is none, or it was made from other keys than the given
// ones, it is made of these and written: keys that were rotated while agents ran outlive a restart, and a changed
// configuration wins.
func OpenKeyring(path string, keys ...string) (*Keyring, error) {
	raw, err := os.ReadFile(path)
	if err == nil {
		var file kept
		if err := json.Unmarshal(raw, &file); err != nil {
			return nil, structs.Errorf(structs.Invalid, path, "is not a keyring: %w", err).
				Advise("remove the file to start again from the configured key")
		}
		if slices.Equal(file.Configured, keys) {
			k, err := NewKeyring(file.Keys...)
			if err != nil {
				return nil, err
			}
			k.path, k.configured = path, keys
			return k, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, structs.Errorf(structs.Unavailable, path, "cannot read the keyring: %w", err)
	}
	k, err := NewKeyring(keys...)
	if err != nil {
		return nil, err
	}
	k.path, k.configured = path, slices.Clone(keys)
	return k, k.keep(k.List())
}

func parseKey(text string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, structs.Errorf(structs.Invalid, "gossip key", "is not base64: %w", err)
	}
	if err := memberlist.ValidateKey(key); err != nil {
		return nil, structs.Errorf(structs.Invalid, "gossip key", "has %d bytes, and must have 16, 24 or 32", len(key))
	}
	return key, nil
}

// Keys returns the keys, primary first; the caller must not change them. A nil keyring has none.
func (k *Keyring) Keys() [][]byte {
	if k == nil {
		return nil
	}
	return k.ring.GetKeys()
}

// Gossip returns the ring that memberlist encrypts with; nil for nil. Change it through k only.
func (k *Keyring) Gossip() *memberlist.Keyring {
	if k == nil {
		return nil
	}
	return k.ring
}

// List returns the keys in base64, primary first.
func (k *Keyring) List() []string {
	var list []string
	for _, key := range k.Keys() {
		list = append(list, base64.StdEncoding.EncodeToString(key))
	}
	return list
}

// Install adds a key, so that what is encrypted and proved with it is understood. It is the first step of a rotation, on
// every member; Use and then Remove of the old one follow. A key that is there already is no error.
func (k *Keyring) Install(text string) error {
	return k.change(text, func(keys [][]byte, at int, key []byte) ([][]byte, error) {
		if at >= 0 {
			return keys, nil
		}
		if len(keys) >= maxKeys {
			return nil, structs.Errorf(structs.Exhausted, "keyring", "has %d keys", len(keys)).Advise("remove old ones first")
		}
		return append(keys, key), nil
	})
}

// Use makes an installed key the primary one.
func (k *Keyring) Use(text string) error {
	return k.change(text, func(keys [][]byte, at int, key []byte) ([][]byte, error) {
		if at < 0 {
			return nil, structs.Errorf(structs.NotFound, "gossip key", "is not installed").Advise("install it on every member first")
		}
		copy(keys[1:at+1], keys[:at])
		keys[0] = key
		return keys, nil
	})
}

// Remove takes an installed key away; the primary one cannot be. A key that is not there is no error.
func (k *Keyring) Remove(text string) error {
	return k.change(text, func(keys [][]byte, at int, key []byte) ([][]byte, error) {
		switch {
		case at == 0:
			return nil, structs.Errorf(structs.Conflict, "gossip key", "is the primary one").Advise("use another one first")
		case at > 0:
			return append(keys[:at], keys[at+1:]...), nil
		}
		return keys, nil
	})
}

// change keeps the new keys first and puts them to use then.
func (k *Keyring) change(text string, f func(keys [][]byte, at int, key []byte) ([][]byte, error)) error {
	key, err := parseKey(text)
	if err != nil {
		return err
	}
	if k == nil {
		return structs.Errorf(structs.Conflict, "keyring", "this agent gossips without a key")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	old := k.ring.GetKeys()
	at := -1
	for i, have := range old {
		if bytes.Equal(have, key) {
			at = i
		}
	}
	keys, err := f(append([][]byte(nil), old...), at, key)
	if err != nil {
		return err
	}
	list := make([]string, len(keys))
	for i, key := range keys {
		list[i] = base64.StdEncoding.EncodeToString(key)
	}
	if err := k.keep(list); err != nil {
		return err
	}
	for _, key := range keys {
		k.ring.AddKey(key)
	}
	k.ring.UseKey(keys[0])
	if len(keys) < len(old) {
		k.ring.RemoveKey(key)
	}
	return nil
}

// keep writes the file so that a crash leaves the old or the new one.
func (k *Keyring) keep(list []string) error {
	if k.path == "" {
		return nil
	}
	raw, err := json.Marshal(&kept{k.configured, list})
	if err == nil {
		err = replace.Bytes(k.path, raw)
	}
	if err != nil {
		return structs.Errorf(structs.Unavailable, k.path, "cannot keep the keyring: %w", err)
	}
	return nil
}

package cluster

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"slices"

	"github.com/proffer/proffer/structs"
)

// The handshake; DESIGN.md draws it.
const (
	version   = 1
	nonceSize = 32
	maxRegion = 64
	maxID     = 64
	maxKeys   = 8 // on a ring, and proofs in a handshake
)

// verdict is the listener's answer.
type verdict byte

const (
	accepted     verdict = iota
	wrongVersion         // of the handshake
	wrongRegion
	keyMissing // the dialler has no key and the listener wants one
	keyUnasked // the dialler has a key and the listener none, so it could prove nothing
	wrongKey
	notServed   // nobody listens for this kind here
	wrongServer // the dialler wants another server than the one that has this address
)

// hello is the first message of each side; the listener's has a verdict in the place of the count.
type hello struct {
	version byte
	count   byte // dialler: how many proofs follow; listener: its verdict
	region  string
	id      string // dialler: of the agent that it wants, "": whoever is there; listener: its own
	nonce   [nonceSize]byte
}

func newHello(region, id string, count byte) *hello {
	h := &hello{version: version, region: region, id: id, count: count}
	rand.Read(h.nonce[:])
	return h
}

func (h *hello) append(to []byte) []byte {
	to = append(to, h.version, h.count, byte(len(h.region)))
	to = append(to, h.region...)
	to = append(to, byte(len(h.id)))
	to = append(to, h.id...)
	return append(to, h.nonce[:]...)
}

func readHello(r io.Reader) (*hello, error) {
	var head [3]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	region, err := readText(r, head[2], maxRegion)
	if err != nil {
		return nil, err
	}
	h := &hello{version: head[0], count: head[1], region: region}
	var size [1]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	if h.id, err = readText(r, size[0], maxID); err != nil {
		return nil, err
	}
	_, err = io.ReadFull(r, h.nonce[:])
	return h, err
}

func readText(r io.Reader, size, most byte) (string, error) {
	if size > most {
		return "", structs.Errorf(structs.Invalid, "handshake", "is not one of Proffer")
	}
	text := make([]byte, size)
	_, err := io.ReadFull(r, text)
	return string(text), err
}

// proof shows knowledge of key to whoever chose the other nonce. The side's label keeps a proof from being sent back to
// its author; everything else that was said is under it too.
func proof(key []byte, side string, k Kind, dialler, listener *hello) []byte {
	derived, err := hkdf.Key(sha256.New, key, nil, "proffer cluster handshake", sha256.Size)
	if err != nil {
		panic(err) // only for absurd lengths
	}
	mac := hmac.New(sha256.New, derived)
	said := append([]byte(side), 0, byte(k))
	said = dialler.append(said)
	said = listener.append(said)
	mac.Write(said)
	return mac.Sum(nil)
}

const (
	sideDialler  = "dialler"
	sideListener = "listener"
)

// prove is the dialler's part of the handshake. want is the id of the agent that must answer; "": any.
func (p *Port) prove(c io.ReadWriter, k Kind, want string) error {
	keys := p.config.Keys.Keys()
	mine := newHello(p.config.Region, want, byte(len(keys)))
	if _, err := c.Write(mine.append([]byte{byte(k)})); err != nil {
		return err
	}
	theirs, err := readHello(c)
	if err != nil {
		return err
	}
	if v := verdict(theirs.count); v != accepted {
		return v.refusal(k, mine, theirs)
	}
	if theirs.region != mine.region {
		return wrongRegion.refusal(k, mine, theirs)
	}
	if want != "" && theirs.id != want {
		return wrongServer.refusal(k, mine, theirs)
	}
	if len(keys) == 0 {
		return nil
	}
	proofs := make([]byte, 0, len(keys)*sha256.Size)
	for _, key := range keys {
		proofs = append(proofs, proof(key, sideDialler, k, mine, theirs)...)
	}
	if _, err := c.Write(proofs); err != nil {
		return err
	}
	var answer [1 + sha256.Size]byte
	if _, err := io.ReadFull(c, answer[:]); err != nil {
		return err
	}
	if v := verdict(answer[0]); v != accepted {
		return v.refusal(k, mine, theirs)
	}
	known := false
	for _, key := range keys {
		known = hmac.Equal(proof(key, sideListener, k, mine, theirs), answer[1:]) || known
	}
	if !known {
		return structs.Errorf(structs.Forbidden, "cluster connection", "the other side did not prove that it knows the gossip key")
	}
	return nil
}

// challenge is the listener's part, after the byte of the kind.
func (p *Port) challenge(c io.ReadWriter, k Kind) error {
	theirs, err := readHello(c)
	if err != nil {
		return err
	}
	keys := p.config.Keys.Keys()
	v := accepted
	switch {
	case theirs.version != version:
		v = wrongVersion
	case theirs.region != p.config.Region:
		v = wrongRegion
	case theirs.count == 0 && len(keys) > 0:
		v = keyMissing
	case theirs.count > 0 && len(keys) == 0:
		v = keyUnasked
	case theirs.count > maxKeys:
		v = wrongKey
	case theirs.id != "" && theirs.id != p.config.ID:
		v = wrongServer
	case !p.kinds[k].open.Load():
		v = notServed
	}
	mine := newHello(p.config.Region, p.config.ID, byte(v))
	if _, err := c.Write(mine.append(nil)); err != nil {
		return err
	}
	if v != accepted {
		return v.refusal(k, theirs, mine)
	}
	if len(keys) == 0 {
		return nil
	}
	proofs := make([]byte, int(theirs.count)*sha256.Size)
	if _, err := io.ReadFull(c, proofs); err != nil {
		return err
	}
	var answer [1 + sha256.Size]byte
	answer[0] = byte(wrongKey)
	// Every pair is compared, so that the time says nothing of which key fits.
	for _, key := range slices.Backward(keys) {
		want := proof(key, sideDialler, k, theirs, mine)
		for i := 0; i < len(proofs); i += sha256.Size {
			if hmac.Equal(want, proofs[i:i+sha256.Size]) {
				answer[0] = byte(accepted)
				copy(answer[1:], proof(key, sideListener, k, theirs, mine))
			}
		}
	}
	if _, err := c.Write(answer[:]); err != nil {
		return err
	}
	if answer[0] != byte(accepted) {
		return wrongKey.refusal(k, theirs, mine)
	}
	return nil
}

// refusal explains a verdict; both sides read the same words.
func (v verdict) refusal(k Kind, dialler, listener *hello) error {
	const what = "cluster connection"
	switch v {
	case wrongVersion:
		return structs.Errorf(structs.Invalid, what, "the dialler speaks version %d of the handshake and the listener %d",
			dialler.version, listener.version)
	case wrongRegion:
		return structs.Errorf(structs.Invalid, what, "the dialler is of region %q and the listener of region %q",
			dialler.region, listener.region)
	case keyMissing:
		return structs.Errorf(structs.Forbidden, what, "the dialler has no gossip key and the listener asks for one").
			Advise("give every agent of the region the same key")
	case keyUnasked:
		return structs.Errorf(structs.Forbidden, what, "the listener has no gossip key and so cannot prove itself").
			Advise("give every agent of the region the same key")
	case wrongKey:
		return structs.Errorf(structs.Forbidden, what, "the dialler and the listener have no gossip key in common").
			Advise("give every agent of the region the same key")
	case wrongServer:
		return structs.Errorf(structs.Unavailable, what, "the dialler wants server %s, and the listener is %q", dialler.id, listener.id)
	case notServed:
		return structs.Errorf(structs.Unavailable, what, "the listener does not serve %v", k)
	}
	return structs.Errorf(structs.Invalid, what, "the listener refused for reason %d, which this version does not know", v)
}

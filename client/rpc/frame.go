package rpc

import "encoding/binary"

// A frame is 8 bytes and then its payload: flags, the stream (4 bytes), the length (3 bytes). DESIGN.md says what each flag
// means.
const (
	flagOpen   = 1 << iota // first frame of a stream
	flagFin                // the sender sends nothing more on the stream
	flagDone               // the sender forgot the stream; with Fin the payload is the last data, without it an error or empty
	flagReset              // the sender gave the stream up
	flagWindow             // the length is bytes that may be sent on the stream in addition; no payload
	flagPing               // answer with pong; no payload
	flagPong               //
	flagGoAway             // open no more streams on this connection; no payload
)

const (
	headerSize = 8
	maxFrame   = 32 << 10  // bytes of payload
	window     = 256 << 10 // bytes that may be on their way on a stream and not yet read
)

func appendHeader(to []byte, flags byte, id uint32, length int) []byte {
	to = append(to, flags)
	to = binary.BigEndian.AppendUint32(to, id)
	return append(to, byte(length>>16), byte(length>>8), byte(length))
}

func parseHeader(b []byte) (flags byte, id uint32, length int) {
	return b[0], binary.BigEndian.Uint32(b[1:5]), int(b[5])<<16 | int(b[6])<<8 | int(b[7])
}

package session

// Method is the RPC stream method of a session. Its request is empty.
const Method = "Node.Session"

// Stream is what a session talks over; *rpc.Stream is one. One goroutine may send while another receives; Close ends both.
type Stream interface {
	Send(v any) error
	Recv(into any) error // io.EOF when the other end is done
	Close() error
}

// maxMessage bounds a message of a session, in bytes: a full state travels in one.
const maxMessage = 64 << 20

func raiseLimit(s Stream) {
	if l, ok := s.(interface{ SetLimit(bytes int) }); ok {
		l.SetLimit(maxMessage)
	}
}

package checks

import (
	"crypto/tls"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/proffer/proffer/structs"
)

// healthService answers as a gRPC server does, on the wire.
func healthService(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
	status, message, body := "0", "", ""
	switch got := hex.EncodeToString(raw); {
	case r.ProtoMajor != 2 || r.URL.Path != "/grpc.health.v1.Health/Check" || r.Header.Get("Te") != "trailers":
		status, message = "13", r.Proto+" "+r.URL.Path
	case got == "0000000000": // the server as a whole
		body = "00000000020801"
	case got == "000000000a0a08"+hex.EncodeToString([]byte("shop.v1.")): // a service that is not up
		body = "00000000020802"
	case got == "00000000050a03"+hex.EncodeToString([]byte("odd")):
		body = "00000000020863"
	case got == "00000000050a03"+hex.EncodeToString([]byte("cut")):
		body = "0000"
	default:
		status, message = "5", "unknown service"
	}
	b, _ := hex.DecodeString(body)
	w.Write(b)
	w.Header().Set("Grpc-Status", status)
	w.Header().Set("Grpc-Message", message)
}

func TestGRPC(t *testing.T) {
	for _, kind := range []string{"grpc", "grpcs"} {
		s := httptest.NewUnstartedServer(http.HandlerFunc(healthService))
		s.Config.Protocols = new(http.Protocols)
		if kind == "grpc" {
			s.Config.Protocols.SetUnencryptedHTTP2(true)
			s.Start()
		} else {
			s.Config.Protocols.SetHTTP2(true)
			s.EnableHTTP2, s.TLS = true, &tls.Config{NextProtos: []string{"h2"}}
			s.StartTLS()
		}
		to := Target{Address: s.Listener.Addr().String()}
		for service, want := range map[string]string{
			"": "", "shop.v1.": "the health service says NOT_SERVING", "odd": "the health service says SERVICE_UNKNOWN",
			"cut": "the answer cannot be read", "none": `the health service does not know "none"`,
		} {
			if why := once(t, check(kind, func(c *structs.Check) { c.Service = service }), to); why != want {
				t.Errorf("%s %q: %q, not %q", kind, service, why, want)
			}
		}
		s.Close()
	}
	// A server without gRPC, and one without the health service.
	plain := httptest.NewServer(http.NotFoundHandler())
	if why := once(t, check("grpc"), Target{Address: plain.Listener.Addr().String()}); why == "" {
		t.Error("a web server passed")
	}
	plain.Close()
	bare := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", "12")
	}))
	bare.Config.Protocols = new(http.Protocols)
	bare.Config.Protocols.SetUnencryptedHTTP2(true)
	bare.Start()
	defer bare.Close()
	if why := once(t, check("grpc"), Target{Address: bare.Listener.Addr().String()}); why != "the server has no gRPC health service" {
		t.Errorf("%q", why)
	}
}

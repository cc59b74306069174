//go:build linux && system

package docker_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/proffer/proffer/drivers/docker"
)

// authority signs certificates for a test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.sign("ca", true)
	return a
}

// sign makes a certificate for the loopback address, in NAME.pem and NAME-key.pem.
func (a *authority) sign(name string, ca bool) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IsCA: ca, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	parent, signer := a.cert, a.key
	if ca {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, b := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + "-key.pem": {Type: "EC PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(a.file(file), pem.EncodeToMemory(b), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// TestAnEngineBehindTLS: with certificates of both sides tasks run there; without one, or with another's, the node says so.
func TestAnEngineBehindTLS(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	a.sign("engine", false)
	a.sign("node", false)
	other.sign("node", false)
	pair, err := tls.LoadX509KeyPair(a.file("engine.pem"), a.file("engine-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() { // what the engine's own TLS port does
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				engine, err := net.Dial("unix", shared.Dir+"/sock")
				if err != nil {
					return
				}
				defer engine.Close()
				go func() {
					io.Copy(engine, conn)
					engine.(*net.UnixConn).CloseWrite()
				}()
				io.Copy(conn, engine)
			}()
		}
	}()
	connect := func(by *authority) *docker.Driver {
		return driver(t, shared, func(o *docker.Options) {
			o.Endpoint, o.CAFile = "tcp://"+listener.Addr().String(), a.file("ca.pem")
			if by != nil {
				o.CertFile, o.KeyFile = by.file("node.pem"), by.file("node-key.pem")
			}
		})
	}
	for what, by := range map[string]*authority{"none": nil, "another's": other} {
		if f := connect(by).Fingerprint(within(t)); f.Healthy || f.Why == "" {
			t.Errorf("with the certificate of %s: %+v", what, f)
		}
	}
	d := connect(a)
	healthy(t, d)
	s := spec(t, "echo over TLS", nil)
	if exit := wait(t, start(t, d, s)); exit.Code != 0 || text(t, s, "stdout") != "over TLS\n" {
		t.Errorf("exit %+v, output %q", exit, text(t, s, "stdout"))
	}
}

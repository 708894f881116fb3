package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/turnstone-mq/turnstone/broker/config"
)

// certificates are what the TLS files hold. New handshakes use what was loaded last; a file that cannot be used leaves
// in force what was before.
type certificates struct {
	files   config.TLS
	current atomic.Pointer[tls.Config]

	mu   sync.Mutex
	seen [][]byte // the contents that were tried last, nil when a file could not be read; guarded by mu
}

// loadCertificates reads the files for the first time, when they must be right.
func (s *Server) loadCertificates(context.Context) error {
	s.certificates = &certificates{files: s.options.Config.TLS}
	_, err := s.certificates.load()
	return err
}

// load reads the files and says whether they differ from what was tried before. On an error the former ones stay.
func (c *certificates) load() (changed bool, err error) {
	if c.files.CertFile == "" {
		return false, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	contents, err := c.read()
	if err != nil {
		changed = c.seen != nil || c.current.Load() == nil
		c.seen = nil
		return changed, err
	}
	if c.seen != nil && slices.EqualFunc(contents, c.seen, bytes.Equal) {
		return false, nil
	}
	c.seen = contents
	made, err := c.make(contents[0], contents[1], contents[2], contents[3])
	if err != nil {
		return true, err
	}
	c.current.Store(made)
	return true, nil
}

// read answers the contents of certificate, key, client authorities and revocation lists; empty for those that have no file.
func (c *certificates) read() (contents [][]byte, err error) {
	for _, name := range []string{c.files.CertFile, c.files.KeyFile, c.files.ClientCAFile, c.files.CRLFile} {
		var b []byte
		if name != "" {
			if b, err = os.ReadFile(name); err != nil {
				return nil, fmt.Errorf("TLS: %w", err)
			}
		}
		contents = append(contents, b)
	}
	return contents, nil
}

func (c *certificates) make(cert, key, clientCA, lists []byte) (*tls.Config, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("TLS: %s and %s are no pair: %w", c.files.CertFile, c.files.KeyFile, err)
	}
	made := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if c.files.MinVersion == "1.3" {
		made.MinVersion = tls.VersionTLS13
	}
	if c.files.ClientCAFile == "" {
		return made, nil
	}
	made.ClientCAs = x509.NewCertPool()
	if !made.ClientCAs.AppendCertsFromPEM(clientCA) {
		return nil, fmt.Errorf("TLS: %s holds no certificate in PEM form", c.files.ClientCAFile)
	}
	made.ClientAuth = tls.VerifyClientCertIfGiven
	if c.files.RequireClientCert {
		made.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if c.files.CRLFile != "" {
		revoked, err := readRevocations(lists)
		if err != nil {
			return nil, fmt.Errorf("TLS: %s: %w", c.files.CRLFile, err)
		}
		made.VerifyConnection = revoked.verify // also when a session is resumed
	}
	return made, nil
}

// server is the configuration of a listener: each handshake takes the certificates of its time. Resumption works across
// them, since the keys of tickets are this configuration's.
func (c *certificates) server(scheme string, protocols ...string) *tls.Config {
	lenient := administrative(scheme) && c.files.AdminWithoutCert
	return &tls.Config{
		NextProtos: protocols,
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			now := c.current.Load()
			if now == nil {
				return nil, errors.New("no certificate is loaded")
			}
			now = now.Clone()
			now.NextProtos = protocols
			if lenient && now.ClientAuth == tls.RequireAndVerifyClientCert {
				now.ClientAuth = tls.VerifyClientCertIfGiven
			}
			return now, nil
		},
	}
}

// notAfter is when the certificate in force ends, in seconds since 1970; zero when there is none.
func (c *certificates) notAfter() float64 {
	now := c.current.Load()
	if now == nil || now.Certificates[0].Leaf == nil {
		return 0
	}
	return float64(now.Certificates[0].Leaf.NotAfter.Unix())
}

package server

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// revocations are the certificates that authorities took back. RFC 5280 §5.
type revocations []*x509.RevocationList

// readRevocations reads lists in PEM form, or one in DER form.
func readRevocations(b []byte) (r revocations, err error) {
	if !bytes.Contains(b, []byte("-----BEGIN")) {
		list, err := x509.ParseRevocationList(b)
		return revocations{list}, err
	}
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "X509 CRL" {
			continue
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, err
		}
		r = append(r, list)
	}
	if len(r) == 0 {
		return nil, errors.New("holds no revocation list")
	}
	return r, nil
}

// verify refuses a peer with a revoked certificate, its own or one of an authority between. Every chain that the peer's
// certificate has is looked at; one without a revoked certificate is enough.
func (r revocations) verify(s tls.ConnectionState) error {
	if len(s.VerifiedChains) == 0 {
		return nil // it showed no certificate
	}
	var err error
	for _, chain := range s.VerifiedChains {
		if err = r.verifyChain(chain); err == nil {
			return nil
		}
	}
	return err
}

func (r revocations) verifyChain(chain []*x509.Certificate) error {
	for i, c := range chain[:len(chain)-1] {
		for _, list := range r {
			if !bytes.Equal(list.RawIssuer, c.RawIssuer) || list.CheckSignatureFrom(chain[i+1]) != nil {
				continue
			}
			for _, revoked := range list.RevokedCertificateEntries {
				if revoked.SerialNumber.Cmp(c.SerialNumber) == 0 {
					return fmt.Errorf("certificate %s was revoked at %s", c.Subject, revoked.RevocationTime)
				}
			}
		}
	}
	return nil
}

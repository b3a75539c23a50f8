package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// wish is one certificate to make, signed by the lab's own authority.
type wish struct {
	Name   string   `json:"name"`   // of the files NAME.crt and NAME.key
	User   string   `json:"user"`   // common name: the user, as Kubernetes sees it
	Groups []string `json:"groups"` // organizations: the groups
	Hosts  []string `json:"hosts"`  // names and addresses; a server's certificate if there are any
}

// certs writes an authority, a key pair for ServiceAccounts and the wished certificates to a folder.
func certs(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: certs FOLDER WISHES, the wishes as a JSON list")
	}
	var wishes []wish
	if err := json.Unmarshal([]byte(args[1]), &wishes); err != nil {
		return err
	}
	authority := template(wish{User: "lab-ca"})
	authority.IsCA = true
	authority.ExtKeyUsage = nil
	authority.KeyUsage |= x509.KeyUsageCertSign
	key, err := write(args[0], "ca", authority, nil, nil)
	if err != nil {
		return err
	}
	for _, each := range wishes {
		if _, err := write(args[0], each.Name, template(each), authority, key); err != nil {
			return err
		}
	}
	tokens, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	private, err := x509.MarshalECPrivateKey(tokens)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&tokens.PublicKey)
	if err != nil {
		return err
	}
	if err := save(filepath.Join(args[0], "sa.key"), "EC PRIVATE KEY", private); err != nil {
		return err
	}
	return save(filepath.Join(args[0], "sa.pub"), "PUBLIC KEY", public)
}

func template(each wish) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	made := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: each.User, Organization: each.Groups},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().AddDate(1, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	for _, host := range each.Hosts {
		made.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		if address := net.ParseIP(host); address != nil {
			made.IPAddresses = append(made.IPAddresses, address)
		} else {
			made.DNSNames = append(made.DNSNames, host)
		}
	}
	return made
}

func write(folder, name string, made, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if parent == nil {
		parent, signer = made, key
	}
	der, err := x509.CreateCertificate(rand.Reader, made, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := save(filepath.Join(folder, name+".key"), "EC PRIVATE KEY", private); err != nil {
		return nil, err
	}
	return key, save(filepath.Join(folder, name+".crt"), "CERTIFICATE", der)
}

func save(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

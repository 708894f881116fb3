package object

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// The mechanisms of SCRAM for which a user can have keys. [RFC 7677; SHA-512 in the same way]
const (
	ScramSHA256 = "SCRAM-SHA-256"
	ScramSHA512 = "SCRAM-SHA-512"
)

// How often the hash of a password is iterated. RFC 7677 asks for 4096 at least, and clients refuse less. The client pays
// for it when it connects, so that more than the most keeps clients out and protects nobody.
const (
	LeastScramIterations = 4096
	MostScramIterations  = 10_000_000
)

const mostScramSalt = 128 // bytes

// ScramKeys are what a broker keeps of a password for one mechanism of SCRAM: with them it verifies a client and proves
// itself, and whoever steals them still has to guess the password. Written, they have the form of RFC 5803:
//
//	SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY
//
// with salt and keys in base64.
type ScramKeys struct {
	Mechanism            string
	Iterations           int
	Salt                 []byte
	StoredKey, ServerKey []byte
}

// keyBytes is how long the keys of a mechanism are; zero if there is no such mechanism.
func keyBytes(mechanism string) int {
	switch mechanism {
	case ScramSHA256:
		return 32
	case ScramSHA512:
		return 64
	}
	return 0
}

func (k ScramKeys) String() string {
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s$%d:%s$%s:%s", k.Mechanism, k.Iterations, b64(k.Salt), b64(k.StoredKey), b64(k.ServerKey))
}

// ParseScramKeys reads what String writes. The error says nothing of the keys.
func ParseScramKeys(s string) (ScramKeys, error) {
	mechanism, rest, _ := strings.Cut(s, "$")
	how, keys, _ := strings.Cut(rest, "$")
	iterations, salt, _ := strings.Cut(how, ":")
	storedKey, serverKey, _ := strings.Cut(keys, ":")
	k := ScramKeys{Mechanism: mechanism}
	size := keyBytes(mechanism)
	if size == 0 {
		return ScramKeys{}, fmt.Errorf("keys must begin with %s$ or %s$", ScramSHA256, ScramSHA512)
	}
	var err error
	if k.Iterations, err = strconv.Atoi(iterations); err != nil || k.Iterations < LeastScramIterations || k.Iterations > MostScramIterations {
		return ScramKeys{}, fmt.Errorf("iterations of %s must be a number from %d to %d", mechanism, LeastScramIterations, MostScramIterations)
	}
	b64 := base64.StdEncoding.Strict()
	if k.Salt, err = b64.DecodeString(salt); err != nil || len(k.Salt) == 0 || len(k.Salt) > mostScramSalt {
		return ScramKeys{}, fmt.Errorf("salt of %s must be the base64 of 1 to %d bytes", mechanism, mostScramSalt)
	}
	var wrong error
	k.StoredKey, err = b64.DecodeString(storedKey)
	k.ServerKey, wrong = b64.DecodeString(serverKey)
	if err != nil || wrong != nil || len(k.StoredKey) != size || len(k.ServerKey) != size {
		return ScramKeys{}, fmt.Errorf("keys of %s must be STOREDKEY:SERVERKEY, each the base64 of %d bytes", mechanism, size)
	}
	return k, nil
}

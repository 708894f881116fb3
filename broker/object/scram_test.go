package object

import (
	"strings"
	"testing"
)

// rfc7677 are the keys of the user "user" with the password "pencil" in the example of RFC 7677 §3.
const rfc7677 = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

func TestScramKeysAreWrittenAsTheyWereRead(t *testing.T) {
	sha512 := "SCRAM-SHA-512$16384:c2FsdA==$" + strings.Repeat("A", 86) + "==:" + strings.Repeat("B", 85) + "A=="
	for _, s := range []string{rfc7677, sha512} {
		k, err := ParseScramKeys(s)
		if err != nil {
			t.Fatal(err)
		}
		if k.String() != s {
			t.Errorf("read %s, wrote %s", s, k)
		}
	}
}

func TestScramKeysThatAreNone(t *testing.T) {
	change := func(old, new string) string { return strings.Replace(rfc7677, old, new, 1) }
	for s, want := range map[string]string{
		"":                                     "must begin with SCRAM-SHA-256$ or SCRAM-SHA-512$",
		change("256", "1"):                     "must begin with",
		change("256", "512"):                   "each the base64 of 64 bytes",
		change("4096", "4095"):                 "from 4096 to 10000000",
		change("4096", "10000001"):             "from 4096 to 10000000",
		change("4096", "many"):                 "from 4096 to 10000000",
		change("W22ZaJ0SNY7soEsUEjb6gQ==", ""): "salt of SCRAM-SHA-256 must be",
		change("W22ZaJ0SNY7soEsUEjb6gQ==", strings.Repeat("AAAA", 43)): "1 to 128 bytes",
		change("W22ZaJ0S", "W22Z aJ0S"):                                "salt",
		change("qY=:", "qY="):                                          "STOREDKEY:SERVERKEY",
		change("qY=:", "qZ=:"):                                         "STOREDKEY:SERVERKEY", // bits that mean nothing
		change("2dU=", ""):                                             "32 bytes",
		rfc7677 + "$":                                                  "STOREDKEY:SERVERKEY",
	} {
		_, err := ParseScramKeys(s)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, wanted %q", s, err, want)
		}
	}
}

func FuzzScramKeys(f *testing.F) {
	f.Add(rfc7677)
	f.Add("SCRAM-SHA-512$4096:AA==$:")
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParseScramKeys(s)
		if err != nil {
			return
		}
		again, err := ParseScramKeys(k.String())
		if err != nil || again.String() != k.String() {
			t.Errorf("%q was read as %v and then as %v, %v", s, k, again, err)
		}
	})
}

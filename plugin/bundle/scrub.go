package bundle

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
)

// Removed stands where something was taken out.
const Removed = "[removed]"

// Scrubber takes secrets out of texts. The zero value knows what secrets look like; Know tells it values.
type Scrubber struct {
	known [][]byte // longest first
}

// shortest is the length of what is looked for by value: less is in every text.
const shortest = 5

// Know makes a value secret, in every way in which it can be written.
func (s *Scrubber) Know(secret []byte) {
	secret = bytes.TrimSpace(secret)
	if len(secret) < shortest {
		return
	}
	quoted, err := json.Marshal(string(secret))
	if err != nil {
		quoted = nil
	}
	for _, form := range [][]byte{
		secret, []byte(base64.StdEncoding.EncodeToString(secret)), []byte(base64.RawURLEncoding.EncodeToString(secret)),
		[]byte(url.QueryEscape(string(secret))), []byte(url.PathEscape(string(secret))), bytes.Trim(quoted, `"`),
	} {
		if len(form) >= shortest && !slices.ContainsFunc(s.known, func(k []byte) bool { return bytes.Equal(k, form) }) {
			s.known = append(s.known, form)
		}
	}
	slices.SortStableFunc(s.known, func(a, b []byte) int { return len(b) - len(a) })
}

// secretName is the end of the name of a field whose value is secret, with or without the quotes of JSON.
const secretName = `(?i:pass(?:word|wd|phrase)?(?:[_-]?hash)?|pwd|secret(?:[_-]?(?:access[_-]?)?key)?|token|api[_-]?key|access[_-]?key|account[_-]?key|shared[_-]?access[_-]?key|private[_-]?key|credentials?|authorization|connection[_-]?string|dsn|scram|salt|stored[_-]?key|server[_-]?key)`

// look is what a secret looks like. Its first group stays, and what is put behind the mark; a value in its second group that is
// harmless is none.
type look struct {
	expression *regexp.Regexp
	behind     string
}

func like(expression string) look { return look{expression: regexp.MustCompile(expression)} }

var looks = []look{
	// "password": "…" of JSON, also where JSON is a text in JSON, and "scram": […].
	like(`("[\w.-]*` + secretName + `"\s*:\s*")(?:[^"\\]|\\.)+`),
	like(`(\\+"[\w.-]*` + secretName + `\\+"\s*:\s*\\+")(?:[^"\\]|\\\\\\.|\\[^"\\])+`),
	like(`("[\w.-]*` + secretName + `"\s*:\s*)\[[^\]]+\]`),
	// Keys in PEM, also with \n written out as in JSON.
	like(`(?s)()-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|$)`),
	// A password in a URL.
	{regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://[^\s:/@"'\\]*:)[^\s/@"'\\]+@`), "@"},
	// Hashes of passwords: argon2id, bcrypt, those of crypt(3), RabbitMQ's, keys of SCRAM.
	like(`()\$(?:argon2[a-z]*|2[abxy]|5|6|y|pbkdf2[a-z0-9-]*|rabbit-sha[0-9]+|scrypt)\$[^\s"'}\]]+`),
	like(`()SCRAM-SHA-[0-9]+\$[^\s"'}\]]+`),
	// Tokens: JSON Web Tokens, what follows Bearer or Basic.
	like(`()\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`),
	like(`\b((?i:bearer|basic)\s+)[A-Za-z0-9+/_.~=-]{8,}`),
	// password: … of YAML, and password=… of connection strings, flags and logs.
	like(`(?m)(^[ \t-]*[\w.-]*` + secretName + `:[ \t]+)([^\s{\[|>][^\n]*)`),
	like(`(\b[\w.-]*` + secretName + `=)"(?:[^"\\]|\\.)*"`),
	like(`(\b[\w.-]*` + secretName + `=)[^\s;&,"'\\]+`),
}

// harmless are values that say nothing.
var harmless = []string{"true", "false", "null", "~", `""`, Removed}

// Scrub is a text without its secrets.
func (s *Scrubber) Scrub(text []byte) []byte {
	for _, k := range s.known {
		text = bytes.ReplaceAll(text, k, []byte(Removed))
	}
	for _, l := range looks {
		text = l.scrub(text)
	}
	return text
}

func (l look) scrub(text []byte) []byte {
	return l.expression.ReplaceAllFunc(text, func(match []byte) []byte {
		groups := l.expression.FindSubmatch(match)
		if len(groups) > 2 && slices.Contains(harmless, string(bytes.TrimSpace(groups[2]))) {
			return match
		}
		return append(bytes.Clone(groups[1]), Removed+l.behind...)
	})
}

var secretNamed = regexp.MustCompile(secretName + `$`)

// LooksSecret says whether a value is secret by its name or by itself.
func LooksSecret(name, value string) bool {
	if secretNamed.MatchString(name) {
		return true
	}
	return slices.ContainsFunc(looks, func(l look) bool { return l.expression.MatchString(value) })
}

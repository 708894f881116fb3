package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// longestName leaves room for what is put behind a name, such as -user-credentials.
const longestName = 200

// subject is something that needs a name in Kubernetes: the key of what it stands for, the name that it had before, if any,
// and else what its name is made of.
type subject struct {
	key  object.Key
	had  string
	base string
}

// nameAll names objects in one namespace: valid, no two of a kind alike, and the same whenever the subjects are the same.
//
// What is a valid name already stays as it is, so that more objects never rename it. Of the others those that would be alike
// get the virtual host in front, and where that is not enough a hash of their key behind.
func nameAll(subjects []subject) []string {
	out := make([]string, len(subjects))
	taken := make(map[[2]string]bool)
	give := func(i int, name string) {
		out[i] = name
		taken[[2]string{string(subjects[i].key.Kind), name}] = true
	}
	exact := func(s subject) bool {
		return s.base == clean(s.base) && (s.key.VirtualHost == "" || s.key.VirtualHost == "/") && s.key.Kind != object.KindBinding
	}
	for i, s := range subjects {
		if s.had != "" && s.had == clean(s.had) && !taken[[2]string{string(s.key.Kind), s.had}] {
			give(i, s.had)
		}
	}
	for _, round := range []func(subject) (string, bool){
		func(s subject) (string, bool) { return s.base, exact(s) },
		func(s subject) (string, bool) { return clean(s.base), true },
		func(s subject) (string, bool) {
			return clean(s.key.VirtualHost + "-" + s.base), s.key.VirtualHost != ""
		},
	} {
		wanted := make(map[[2]string][]int)
		for i, s := range subjects {
			if name, ok := round(s); ok && out[i] == "" && name != "" {
				k := [2]string{string(s.key.Kind), name}
				wanted[k] = append(wanted[k], i)
			}
		}
		for k, who := range wanted {
			if len(who) == 1 && !taken[k] {
				give(who[0], k[1])
			}
		}
	}
	for i, s := range subjects {
		if out[i] == "" {
			out[i] = hashed(s)
		}
	}
	return out
}

func hashed(s subject) string {
	sum := sha256.Sum256([]byte(string(s.key.Kind) + "\x00" + s.key.VirtualHost + "\x00" + s.key.Name))
	const digits = 10
	name := clean(s.base)
	if most := longestName - digits - 1; len(name) > most {
		name = strings.TrimRight(name[:most], "-.")
	}
	if name == "" {
		name = strings.ToLower(string(s.key.Kind))
	}
	return name + "-" + hex.EncodeToString(sum[:])[:digits]
}

// clean makes a DNS-1123 subdomain of a text: lower-case letters, digits, - and . that stand between those. It may be empty.
func clean(text string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.':
			b.WriteRune(r)
		default:
			b.WriteByte('-')
		}
	}
	var labels []string
	for _, l := range strings.Split(b.String(), ".") {
		for strings.Contains(l, "--") && !strings.Contains(text, "--") {
			l = strings.ReplaceAll(l, "--", "-")
		}
		if l = strings.Trim(l, "-"); l != "" {
			labels = append(labels, l)
		}
	}
	name := strings.Join(labels, ".")
	if len(name) > longestName {
		name = strings.TrimRight(name[:longestName], "-.")
	}
	return name
}

// baseOf is what the name of an object is made of.
func baseOf(o object.Object) string {
	switch {
	case o.Kind == object.KindVirtualHost && o.Name == "/":
		return "default"
	case o.Kind != object.KindBinding:
		return o.Name
	}
	s, err := object.Decode[object.BindingSpec](o)
	if err != nil {
		return o.Name
	}
	base := s.Source + "-" + s.Destination
	if key := strings.NewReplacer("*", "any", "#", "all").Replace(s.RoutingKey); key != "" && s.RoutingKey != s.Destination {
		base += "-" + key
	}
	return base
}

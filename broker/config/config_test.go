package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestDefaultIsValid(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
}

func TestRenderLoad(t *testing.T) {
	want := Default()
	want.Listeners = []string{"mqtts://0.0.0.0:8883"}
	want.TLS.CertFile, want.TLS.KeyFile = "tls.crt", "tls.key"
	want.Auth.BootstrapUsers = []BootstrapUser{{Name: "admin", PasswordFile: "/secret/password", Tags: []string{"administrator"}}}
	want.Limits.Connections = 7
	want.Limits.Rates.User.ConnectsPerSecond = 0.5
	b, err := want.Render()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "turnstone.yaml")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Load(file)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%+v\nwant\n%+v", err, got, want)
	}
}

func TestLoadSaysWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct{ yaml, want string }{
		"unknown key":       {"lissteners: []", `unknown field "lissteners"`},
		"no listener":       {"listeners: []", "listeners: at least one is needed"},
		"scheme":            {`listeners: ["stomp://127.0.0.1:1"]`, "scheme must be one of [mqtt mqtts"},
		"port":              {`listeners: ["mqtt://127.0.0.1:99999"]`, `port "99999" is not a number from 0 to 65535`},
		"no port":           {`listeners: ["mqtt://127.0.0.1"]`, "want SCHEME://HOST:PORT"},
		"tls without files": {`listeners: ["amqps://127.0.0.1:5671"]`, "needs tls.certFile and tls.keyFile"},
		"half a pair":       {"tls: {certFile: x}", "certFile and keyFile belong together"},
		"level":             {"log: {level: loud}", `log.level: "loud" is not one of [debug info warn error]`},
		"limit":             {"limits: {connections: -1}", "limits.connections: must be greater than 0"},
		"iterations":        {"auth: {scramIterations: 100}", "auth.scramIterations: 100 is neither within 4096 and 10000000 nor -1"},
		"moved nowhere":     {"mqtt: {serverMoved: true}", "mqtt.serverMoved: needs mqtt.serverReference"},
		"port of a server":  {"mqtt: {serverReference: 'a:1 b:99999'}", `mqtt.serverReference: "b:99999": port "99999" is not a number from 1 to 65535`},
		"rate":              {"limits: {rates: {user: {bytesPerSecond: -5}}}", "limits.rates.user.bytesPerSecond: -5 is neither a rate nor -1"},
		"excess":            {"limits: {rates: {onExcess: wait}}", `limits.rates.onExcess: "wait" is not one of [slow-down drop disconnect]`},
		"admin excepted":    {"tls: {adminWithoutCert: true}", "tls.adminWithoutCert: needs tls.requireClientCert"},
		"certificate name":  {"auth: {certificateName: serial}", `auth.certificateName: "serial" is not one of [ common-name dns-name email uri]`},
		"password":          {"auth: {bootstrapUsers: [{name: a}]}", "must name the file that holds the password"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "c.yaml")
			if err := os.WriteFile(file, []byte(c.yaml), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Load(file); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestServerReferences(t *testing.T) {
	for reference, good := range map[string]bool{
		"": true, "other.example": true, "other.example:1883": true, "a b:1 [::1] [fe80::1]:8883": true, "192.0.2.1:65535": true, strings.Repeat("a", 1024): true,
		" ": false, "a  b": false, "a ": false, "a:": false, "a:0": false, "a:b": false, "::1": false, "[::1": false, "[::1]x": false, "[::1]:": false,
		"[192.0.2.1]": false, "a\tb": false, "mqtt://a": false, "ä": false, strings.Repeat("a", 1025): false,
	} {
		if err := checkReference(reference); (err == nil) != good {
			t.Errorf("%.40q: %v", reference, err)
		}
	}
}

func TestLiveKeys(t *testing.T) {
	old, wanted := Default(), Default()
	wanted.Limits.Connections = 5
	wanted.Limits.Rates.Client.MessagesPerSecond = 7
	wanted.Log.Level = "debug"
	wanted.DataDir = "elsewhere"
	live, restart := Changed(old, wanted)
	if !slices.Equal(live, []string{"limits.connections", "limits.rates.client.messagesPerSecond", "log.level"}) || !slices.Equal(restart, []string{"dataDir"}) {
		t.Errorf("live %v, restart %v", live, restart)
	}
	merged := Merge(old, wanted)
	if merged.Limits.Connections != 5 || merged.Log.Level != "debug" || merged.DataDir != old.DataDir {
		t.Errorf("merged %+v", merged)
	}
	if old.Hash() != merged.Hash() || old.Hash() == wanted.Hash() {
		t.Error("the hash must follow the keys that need a restart, and no others")
	}
	if len(Keys()) < 30 {
		t.Errorf("only %d keys", len(Keys()))
	}
}

// A key that came later must not change the hash of those who do not use it: an upgrade would restart every pod.
func TestLaterKeysDoNotRestart(t *testing.T) {
	for key := range laterKeys() {
		if !slices.ContainsFunc(Keys(), func(k Key) bool { return k.Name == key && !k.Live }) {
			t.Errorf("%s is no key that needs a restart", key)
		}
	}
	const first = "721659a176a96211" // of the first release's defaults
	if h := Default().Hash(); h != first {
		t.Errorf("the hash of the defaults is %s: tag new keys hash:\"set\"", h)
	}
	set := Default()
	set.TLS.AdminWithoutCert = true
	if set.Hash() == Default().Hash() {
		t.Error("a later key that is set does not change the hash")
	}
}

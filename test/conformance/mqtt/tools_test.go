package mqtt

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// run runs a program to its end and answers what it printed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// TestMosquittoClients: a subscriber that was away, every version and quality of service, and request and response.
func TestMosquittoClients(t *testing.T) {
	for _, name := range []string{"mosquitto_pub", "mosquitto_sub", "mosquitto_rr"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed: it is in Debian's package mosquitto-clients, which hack/test installs", name)
		}
	}
	b := start(t)
	host, port, err := net.SplitHostPort(b.addresses["mqtt"])
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"31", "311", "5"} {
		common := []string{"-h", host, "-p", port, "-V", version}
		kept := append([]string{"-t", "m/#", "-q", "2", "-i", "sub" + version, "-c"}, common...)
		if version == "5" {
			kept = append(kept, "-x", "1000")
		}
		run(t, "mosquitto_sub", append(kept, "-E")...)
		for _, qos := range []string{"1", "2"} {
			run(t, "mosquitto_pub", append([]string{"-t", "m/" + qos, "-m", "with " + qos, "-q", qos}, common...)...)
		}
		got := run(t, "mosquitto_sub", append(kept, "-C", "2", "-F", "%t %p %q %r")...)
		if want := "m/1 with 1 1 0\nm/2 with 2 2 0\n"; got != want {
			t.Errorf("version %s: got %q, want %q", version, got, want)
		}
	}
	run(t, "mosquitto_pub", "-h", host, "-p", port, "-V", "5", "-t", "r", "-m", "kept", "-r", "-q", "1", "-D", "publish", "user-property", "k", "v", "-D", "publish", "content-type", "x/y")
	got := run(t, "mosquitto_sub", "-h", host, "-p", port, "-V", "5", "-t", "r", "-C", "1", "-F", "%p %r %C %P")
	if want := "kept 1 x/y k:v\n"; got != want {
		t.Errorf("retained: got %q, want %q", got, want)
	}
	sys := run(t, "mosquitto_sub", "-h", host, "-p", port, "-t", "$SYS/broker/clients/+", "-t", "$SYS/broker/uptime", "-C", "6", "-v", "-W", "20")
	for _, topic := range []string{"connected", "disconnected", "total", "maximum", "expired"} {
		if !strings.Contains(sys, "$SYS/broker/clients/"+topic+" ") {
			t.Errorf("$SYS has no clients/%s:\n%s", topic, sys)
		}
	}
	server := b.connect5(t, "server", nil)
	server.echo("question")
	if got := run(t, "mosquitto_rr", "-h", host, "-p", port, "-V", "5", "-t", "question", "-e", "answer", "-m", "hello"); strings.TrimSpace(got) != "hello" {
		t.Errorf("mosquitto_rr printed %q", got)
	}
}

// TestMqttJS runs mqttjs/scenario.js in both versions, over TCP and WebSocket.
func TestMqttJS(t *testing.T) {
	if _, err := os.Stat("mqttjs/node_modules"); err != nil {
		t.Skip("mqtt.js is not installed: hack/test installs it with npm")
	}
	b := start(t)
	for _, version := range []string{"4", "5"} {
		for _, scheme := range []string{"mqtt", "ws"} {
			t.Run(scheme+" "+version, func(t *testing.T) {
				url := strings.Replace(b.url(scheme), "tcp://", "mqtt://", 1)
				run(t, "node", "mqttjs/scenario.js", url, version)
			})
		}
	}
}

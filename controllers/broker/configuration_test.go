package broker

import (
	"encoding/json"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	adminapi "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/controllers/resource"
)

// A broker that does not say which file is in force is asked key by key.
func TestHoldsConfig(t *testing.T) {
	wanted := config.Default()
	live, restart := wanted, wanted
	live.Limits.Connections = 7
	restart.Storage.Shards = 4
	for name, c := range map[string]struct {
		inForce config.Config
		want    bool
	}{"the same": {wanted, true}, "a live key": {live, false}, "a key that needs a restart": {restart, false}} {
		raw, err := json.Marshal(c.inForce)
		if err != nil {
			t.Fatal(err)
		}
		if got := holdsConfig(adminapi.ConfigState{Hash: c.inForce.Hash(), Config: raw}, wanted); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if holdsConfig(adminapi.ConfigState{Hash: wanted.Hash(), Config: []byte("?")}, wanted) {
		t.Error("an answer that cannot be read is taken for the wanted one")
	}
}

func TestRestartKeys(t *testing.T) {
	was, wanted := config.Default(), config.Default()
	wanted.Limits.Connections, wanted.Storage.Shards, wanted.MQTT.Exchange = 7, 4, "mqtt"
	text, err := was.Render()
	if err != nil {
		t.Fatal(err)
	}
	before := &corev1.ConfigMap{Data: map[string]string{resource.ConfigFile: string(text)}}
	if keys := restartKeys(before, wanted); !slices.Equal(keys, []string{"mqtt.exchange", "storage.shards"}) {
		t.Errorf("keys %v", keys)
	}
	if text := atStart([]string{"a", "b"}); text != "a, b take effect" {
		t.Error(text)
	}
	before.Data[resource.ConfigFile] = "["
	if keys := restartKeys(before, wanted); keys != nil {
		t.Errorf("keys %v of what cannot be read", keys)
	}
}

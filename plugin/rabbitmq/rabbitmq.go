// Package rabbitmq translates what describes the topology of a RabbitMQ into our Kubernetes objects: definitions.json, which package
// broker/definitions reads, and the resources of RabbitMQ's messaging topology operator. What is not translated is told with
// the reason. It reads and writes nothing by itself.
package rabbitmq

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/definitions"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/plugin/manifest"
)

// Result is what became of files.
type Result struct {
	Objects []v1alpha1.Topology
	Skipped []admin.Skipped // what was not taken over, or needs a look
}

func (r *Result) skip(what, format string, args ...any) {
	r.Skipped = append(r.Skipped, admin.Skipped{What: what, Why: fmt.Sprintf(format, args...)})
}

// IsDefinitions says whether a file is RabbitMQ's definitions.json rather than Kubernetes objects.
func IsDefinitions(file []byte) bool {
	var sections map[string]json.RawMessage
	if json.Unmarshal(file, &sections) != nil {
		return strings.HasPrefix(strings.TrimSpace(string(file)), "{") && !strings.Contains(string(file), "apiVersion")
	}
	_, version := sections["apiVersion"]
	return !version
}

// Definitions translates definitions.json, of one virtual host if it is named.
func Definitions(file []byte, vhost string, t manifest.Target) (Result, error) {
	imported, err := definitions.Import(file, vhost)
	if err != nil {
		return Result{}, err
	}
	r := Result{Skipped: imported.Skipped}
	sources := make([]manifest.Source, len(imported.Objects))
	for i, o := range imported.Objects {
		sources[i] = manifest.Source{Object: o, At: imported.At[i]}
		r.password(sources[i])
	}
	made, skipped := manifest.Export(sources, t)
	r.Objects, r.Skipped = made, append(r.Skipped, skipped...)
	return r, nil
}

// password says that a user comes without one.
func (r *Result) password(s manifest.Source) {
	if s.Kind != object.KindUser {
		return
	}
	spec, err := object.Decode[object.UserSpec](s.Object)
	if err == nil && (spec.PasswordHash != "" || spec.Password != "") {
		r.skip(s.At+" password", "passwords and hashes are not written into manifests: the operator makes a new one, or set spec.passwordSecretRef; to keep the hash, import the file with turnstone definitions import instead")
	}
}

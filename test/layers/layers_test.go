// Package layers_test holds the rules of the project's structure: which package may import which, and why. The rules read
// the source files; nothing is compiled.
package layers_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/turnstone-mq/turnstone"

// levels is DESIGN's picture of the broker, top to bottom: a package imports only from lines below its own. A package that
// is not listed has the level of the nearest listed folder above it. A package may always import from its own folder.
var levels = [][]string{
	{"broker"},
	{"broker/server"},
	{"broker/mqtt", "broker/amqp091", "broker/amqp10", "broker/admin"},
	{"broker/hub", "broker/endpoint", "broker/cluster/sim"},
	{"broker/router", "broker/queue", "broker/schedule", "broker/session", "broker/retain", "broker/auth", "broker/policy", "broker/definitions", "broker/cluster", "broker/mapping"},
	{"broker/catalog", "broker/journal", "broker/message", "broker/config", "broker/metrics", "broker/admin/client"},
	{"broker/object", "broker/rate", "broker/outbox", "broker/topic", "broker/selector", "broker/mqtt/packet", "broker/amqp091/frame", "broker/amqp10/frame", "broker/journal/vfs", "broker/idle"},
	{"broker/socket"},
}

// sideways are the imports inside a level, each with its reason.
var sideways = map[string]string{
	"broker/session → broker/router": "a session is stored with the subscription options that the router reads",
}

// rule forbids imports. A package is ruled when it is one of in or lies below one of them; every import that starts with
// one of not is a violation, unless it starts with one of but.
type rule struct {
	in  []string
	not []string
	but []string
	why string
}

var rules = []rule{{
	in:  []string{"broker/hub"},
	not: []string{module + "/broker/mqtt", module + "/broker/amqp091", module + "/broker/amqp10"},
	why: "the hub is the broker without a protocol: what it needs of one is handed to it",
}, {
	in:  []string{"broker"},
	not: []string{"k8s.io/", "sigs.k8s.io/"},
	but: []string{"sigs.k8s.io/yaml"},
	why: "the broker runs without Kubernetes, and its binary stays small",
}, {
	in:  []string{"broker"},
	not: []string{module + "/controllers", module + "/api", module + "/test"},
	why: "the operator knows the broker, never the other way round",
}, {
	in:  []string{"broker/mqtt/packet", "broker/amqp091/frame", "broker/amqp10/frame"},
	not: []string{module + "/"},
	but: []string{module + "/broker/mqtt/packet", module + "/broker/amqp091/frame", module + "/broker/amqp10/frame"},
	why: "a codec is pure: bytes to a packet and back; what a packet means is decided above it",
}, {
	in:  []string{"broker/mqtt/packet", "broker/amqp091/frame", "broker/amqp10/frame"},
	not: []string{"net", "os", "log", "sync"},
	why: "a codec has no I/O, no pool and no log",
}, {
	in:  []string{"broker/selector"},
	not: []string{module + "/", "net", "os", "log", "sync", "time", "regexp"},
	why: "a selector is asked about any message by any protocol, and nothing in it goes back or waits",
}, {
	in:  []string{"broker/journal", "broker/cluster"},
	not: []string{module + "/broker/message", module + "/broker/object", module + "/broker/topic"},
	why: "the log and its replication know bytes and positions; everything above is an encoding",
}, {
	in:  []string{"broker/router", "broker/queue", "broker/schedule", "broker/session", "broker/retain", "broker/policy", "broker/definitions"},
	not: []string{"net", "os", "log", "math/rand", "io/fs"},
	why: "a state machine has input and effects, no I/O and no chance, so that every replica computes the same",
}, {
	in:  []string{"broker/admin/client"},
	not: []string{module + "/"},
	but: []string{module + "/broker/object", module + "/broker/admin/client"},
	why: "who talks to the admin API from outside takes the client and the objects, not the broker",
}, {
	in:  []string{"controllers", "api", "main.go"},
	not: []string{module + "/broker"},
	but: []string{module + "/broker/config", module + "/broker/admin/client", module + "/broker/object"},
	why: "the operator renders the broker's configuration and talks to its API; it never is the broker",
}, {
	in:  []string{"api"},
	not: []string{module + "/"},
	but: []string{module + "/api"},
	why: "whoever imports the Go types of the CRDs gets the types alone",
}, {
	in:  []string{"plugin", "cmd"},
	not: []string{module + "/broker"},
	but: []string{module + "/broker/admin/client", module + "/broker/object", module + "/broker/definitions"},
	why: "the kubectl plugin talks to brokers as everybody does: by their API and their protocols",
}, {
	in:  []string{"plugin/messages", "plugin/top", "plugin/difference", "plugin/logline"},
	not: []string{"k8s.io/", "sigs.k8s.io/", module + "/api", module + "/controllers"},
	why: "what is sent, computed and laid out needs no Kubernetes, and no cluster to be tested",
}, {
	in:  []string{"broker", "controllers", "api", "main.go"},
	not: []string{module + "/plugin", module + "/cmd"},
	why: "the plugin knows broker and operator, never the other way round",
}, {
	in:  []string{"test"},
	not: []string{module + "/"},
	but: []string{module + "/api", module + "/broker/admin/client", module + "/broker/object", module + "/broker/amqp10/frame", module + "/test"},
	why: "test/ holds black-box tests: what they see is what users see; frames that no client library sends are written with the codec",
}, {
	in:  []string{"broker", "controllers", "api", "main.go"},
	not: []string{"testing", "github.com/onsi/", "github.com/eclipse/", "github.com/rabbitmq/", "github.com/Azure/", "sigs.k8s.io/controller-runtime/pkg/envtest"},
	why: "fixtures and the clients of tests stay out of the product",
}}

func TestImportsFollowTheRules(t *testing.T) {
	files := production(sources(t))
	for _, r := range rules {
		for _, f := range files {
			if !slices.ContainsFunc(r.in, f.within) {
				continue
			}
			for _, imported := range f.imports {
				if matches(r.not, imported) && !matches(r.but, imported) {
					t.Errorf("%s imports %q: %s", f.path, imported, r.why)
				}
			}
		}
	}
}

func TestImportsPointDownwards(t *testing.T) {
	for _, f := range production(sources(t)) {
		from, listed := level(f.folder())
		if !listed {
			continue
		}
		for _, imported := range f.imports {
			target, ours := strings.CutPrefix(imported, module+"/")
			to, listed := level(target)
			if !ours || !listed || ownFolder(f.folder(), target) {
				continue
			}
			if _, excepted := sideways[f.folder()+" → "+target]; to == from && excepted {
				continue
			}
			if to <= from {
				t.Errorf("%s imports %s, which is not below it (broker levels %d and %d from the top)", f.path, target, from, to)
			}
		}
	}
}

// ownFolder: target lies in the package's folder. The root folder of the broker holds everything, so it does not count.
func ownFolder(folder, target string) bool {
	return folder != "broker" && strings.HasPrefix(target, folder+"/")
}

func TestStateMachinesHaveNoGoroutineAndNoClock(t *testing.T) {
	machines := []string{"broker/router", "broker/queue", "broker/session", "broker/retain", "broker/selector", "broker/mqtt/packet", "broker/amqp091/frame", "broker/amqp10/frame"}
	clock := []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
	for _, f := range production(sources(t)) {
		if !slices.ContainsFunc(machines, f.within) {
			continue
		}
		ast.Inspect(f.parse(t, parser.SkipObjectResolution), func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine: a state machine or codec is fed by the one that owns it", f.path)
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clock, n.Sel.Name) {
					t.Errorf("%s uses time.%s: time is an argument, so that a replay computes the same", f.path, n.Sel.Name)
				}
			}
			return true
		})
	}
}

// The import rules see the broker's own files; this one sees what its dependencies bring along.
func TestBrokerBinaryHoldsNoKubernetes(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "./broker")
	list.Dir = root
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list -deps ./broker: %v", err)
	}
	for _, p := range strings.Fields(string(out)) {
		if matches([]string{"k8s.io/", "sigs.k8s.io/"}, p) && !matches([]string{"sigs.k8s.io/yaml"}, p) {
			t.Errorf("the broker's binary holds %s", p)
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for folder, files := range packages(sources(t)) {
		f := opening(t, folder, files)
		if f == nil {
			t.Errorf("%s has no file %s.go, where its package comment belongs", folder, path.Base(folder))
			continue
		}
		if doc := f.parse(t, parser.PackageClauseOnly|parser.ParseComments).Doc; doc == nil || len(doc.Text()) < 40 {
			t.Errorf("%s lacks a package comment: what it is, what it is not, who calls it", f.path)
		}
	}
}

// opening is the file that carries the package comment: the one named like the folder, main.go of a command,
// controller.go of a reconciler, groupversion_info.go of an API version, and any file where all are tests.
func opening(t *testing.T, folder string, files []file) *file {
	t.Helper()
	names := []string{path.Base(folder) + ".go", "main.go", "controller.go", "groupversion_info.go"}
	if len(production(files)) == 0 {
		i := slices.IndexFunc(files, func(f file) bool { return f.parse(t, parser.PackageClauseOnly|parser.ParseComments).Doc != nil })
		return &files[max(i, 0)]
	}
	for _, name := range names {
		if i := slices.IndexFunc(files, func(f file) bool { return path.Base(f.path) == name }); i >= 0 {
			return &files[i]
		}
	}
	return nil
}

func TestNoPackageIsCalledNothing(t *testing.T) {
	nothing := []string{"util", "utils", "common", "helper", "helpers", "types", "interfaces", "misc", "base", "shared", "lib"}
	for folder := range packages(sources(t)) {
		if slices.Contains(nothing, path.Base(folder)) {
			t.Errorf("%s: the thing inside has not been named yet", folder)
		}
	}
}

// The rules themselves are wrong if they name what is not there any more.
func TestRulesNameFoldersThatMayExist(t *testing.T) {
	for _, r := range rules {
		if r.why == "" || len(r.in) == 0 || len(r.not) == 0 {
			t.Errorf("rule %v says too little", r)
		}
		for _, b := range r.but {
			if !matches(r.not, b) {
				t.Errorf("rule %q excepts %s, which it does not forbid", r.why, b)
			}
		}
	}
	if len(sources(t)) == 0 {
		t.Error("no source file was found")
	}
}

// root is the project's folder, seen from this test's.
const root = "../.."

// file is a Go source file of the project.
type file struct {
	path    string   // from the root, with slashes
	imports []string // as written
}

func (f file) folder() string { return path.Dir(f.path) }

// within: f is the file of that name, or lies in or below the folder of that name.
func (f file) within(name string) bool { return f.path == name || strings.HasPrefix(f.path, name+"/") }

func (f file) parse(t *testing.T, mode parser.Mode) *ast.File {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, filepath.FromSlash(f.path)), nil, mode)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// sources are the Go files of this module; folders with a go.mod of their own are other modules.
func sources(t *testing.T) []file {
	t.Helper()
	var found []file
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skip(name, rel)
		}
		if strings.HasSuffix(name, ".go") {
			f := file{path: filepath.ToSlash(rel)}
			for _, i := range f.parse(t, parser.ImportsOnly).Imports {
				imported, err := strconv.Unquote(i.Path.Value)
				if err != nil {
					return err
				}
				f.imports = append(f.imports, imported)
			}
			found = append(found, f)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func skip(name, rel string) error {
	if rel == "." {
		return nil
	}
	base := filepath.Base(rel)
	if strings.HasPrefix(base, ".") || base == "testdata" || base == "bin" || base == "data" {
		return filepath.SkipDir
	}
	if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil {
		return filepath.SkipDir
	}
	return nil
}

func production(files []file) []file {
	return slices.DeleteFunc(slices.Clone(files), func(f file) bool { return strings.HasSuffix(f.path, "_test.go") })
}

func packages(files []file) map[string][]file {
	out := map[string][]file{}
	for _, f := range files {
		out[f.folder()] = append(out[f.folder()], f)
	}
	return out
}

// matches: the import path is one of the names, or lies below one. A name that ends in a slash is only a prefix.
func matches(names []string, imported string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		return imported == name || strings.HasPrefix(imported, strings.TrimSuffix(name, "/")+"/")
	})
}

// level of a folder, counted from the top, by its nearest listed ancestor.
func level(folder string) (int, bool) {
	for ; folder != "." && folder != "/"; folder = path.Dir(folder) {
		for i, names := range levels {
			if slices.Contains(names, folder) {
				return i, true
			}
		}
	}
	return 0, false
}

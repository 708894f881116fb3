package manifest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
)

// Document is one object of a file.
type Document struct {
	At         string // such as FILE[2]
	APIVersion string
	Kind       string
	Name       string
	Namespace  string
	JSON       []byte
}

// mostBytes bounds what is read of one file.
const mostBytes = 64 << 20

// Read reads the documents of files, of directories (their .yaml, .yml and .json files, also below when it is recursive), and of
// in, which is called -. Lists are taken apart.
func Read(paths []string, recursive bool, in io.Reader) ([]Document, error) {
	var out []Document
	for _, path := range paths {
		if path == "-" {
			docs, err := read("-", in)
			if err != nil {
				return nil, err
			}
			out = append(out, docs...)
			continue
		}
		files, err := files(path, recursive)
		if err != nil {
			return nil, err
		}
		for _, name := range files {
			docs, err := readFile(name)
			if err != nil {
				return nil, err
			}
			out = append(out, docs...)
		}
	}
	return out, nil
}

// files are those that a path stands for, by name.
func files(path string, recursive bool) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	var out []string
	err = filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != path && !recursive:
			return filepath.SkipDir
		case !d.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name)):
			out = append(out, name)
		}
		return nil
	})
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("%s holds no .yaml, .yml or .json file", path)
	}
	return out, err
}

func readFile(name string) ([]Document, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return read(name, f)
}

// ReadBytes reads a file of at most mostBytes.
func ReadBytes(name string, in io.Reader) ([]byte, error) {
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, mostBytes+1))
	if err == nil && len(b) > mostBytes {
		err = fmt.Errorf("it is longer than %d bytes: give it in parts", mostBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return b, nil
}

// ReadStream reads the documents of a file that was read.
func ReadStream(name string, file []byte) ([]Document, error) {
	return read(name, bytes.NewReader(file))
}

func read(name string, in io.Reader) ([]Document, error) {
	r := utilyaml.NewYAMLReader(bufio.NewReader(io.LimitReader(in, mostBytes)))
	var out []Document
	for n := 0; ; n++ {
		text, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		docs, err := Parse(fmt.Sprintf("%s[%d]", name, n), text)
		if err != nil {
			return nil, err
		}
		out = append(out, docs...)
	}
}

// Parse reads one document of YAML or JSON; an empty one is none, a List is what it holds.
func Parse(at string, text []byte) ([]Document, error) {
	b, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	if bytes.Equal(b, []byte("null")) {
		return nil, nil
	}
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Name      string `json:"name"`
			Namespace string `json:"namespace"`
		} `json:"metadata"`
		Items []runtime.RawExtension `json:"items"`
	}
	if err := yaml.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("%s: it is no Kubernetes object: %w", at, err)
	}
	if head.Kind == "" || head.APIVersion == "" {
		return nil, fmt.Errorf("%s: it is no Kubernetes object: apiVersion or kind is missing", at)
	}
	if !strings.HasSuffix(head.Kind, "List") || head.Items == nil {
		return []Document{{at, head.APIVersion, head.Kind, head.Metadata.Name, head.Metadata.Namespace, b}}, nil
	}
	var out []Document
	for i, item := range head.Items {
		docs, err := Parse(fmt.Sprintf("%s.items[%d]", at, i), item.Raw)
		if err != nil {
			return nil, err
		}
		out = append(out, docs...)
	}
	return out, nil
}

// Ours says whether a document is of our API group.
func (d Document) Ours() bool {
	group, _, _ := strings.Cut(d.APIVersion, "/")
	return group == v1alpha1.GroupVersion.Group
}

// Topology reads a document as one of our kinds that live in a broker; nil when it is a MessageBroker or not ours.
func (d Document) Topology(s *runtime.Scheme, namespace string) (v1alpha1.Topology, error) {
	if !d.Ours() {
		return nil, nil
	}
	if d.APIVersion != v1alpha1.GroupVersion.String() {
		return nil, fmt.Errorf("%s: apiVersion %s is not known; this plugin knows %s", d.At, d.APIVersion, v1alpha1.GroupVersion)
	}
	o, err := s.New(v1alpha1.GroupVersion.WithKind(d.Kind))
	if err != nil {
		return nil, fmt.Errorf("%s: kind %s does not exist in %s", d.At, d.Kind, v1alpha1.GroupVersion)
	}
	t, ok := o.(v1alpha1.Topology)
	if !ok {
		return nil, nil
	}
	if err := yaml.UnmarshalStrict(d.JSON, t); err != nil {
		why := strings.TrimPrefix(err.Error(), "error unmarshaling JSON: while decoding JSON: json: ")
		return nil, fmt.Errorf("%s: %s %q: %s", d.At, d.Kind, d.Name, why)
	}
	if t.GetName() == "" {
		return nil, fmt.Errorf("%s: %s has no metadata.name", d.At, d.Kind)
	}
	if t.GetNamespace() == "" {
		t.SetNamespace(namespace)
	}
	return t, nil
}

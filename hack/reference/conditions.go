package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
)

// group is one declaration of constants, with the comment above it.
type group struct {
	title     string
	constants []constant
}

type constant struct{ value, meaning string }

// readConstants reads the string constants of a package, in their groups.
func readConstants(dir string) ([]group, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	var out []group
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		groups, err := constantsOf(file)
		if err != nil {
			return nil, err
		}
		out = append(out, groups...)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no constant in %s", dir)
	}
	return out, nil
}

func constantsOf(path string) ([]group, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	var out []group
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		list := group{title: sentence(g.Doc.Text())}
		for _, s := range g.Specs {
			v := s.(*ast.ValueSpec)
			literal, ok := v.Values[0].(*ast.BasicLit)
			if !ok {
				continue
			}
			value, err := strconv.Unquote(literal.Value)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", path, v.Names[0].Name, err)
			}
			list.constants = append(list.constants, constant{value, sentence(v.Comment.Text())})
		}
		out = append(out, list)
	}
	return out, nil
}

func conditionsPage(groups []group) string {
	var b strings.Builder
	b.WriteString(generated + `# Conditions

Every object reports in ` + "`status.conditions`" + ` how it is, in the way of kstatus, so that Flux, Argo CD and ` + "`kubectl wait`" + `
understand it:

- **Ready** is True while what the object asks for is true, and False with a reason otherwise. It is always there once the
  operator has looked.
- **Reconciling** is there, and True, while the operator works towards it or waits for something that can come by itself.
- **Stalled** is there, and True, while waiting does not help: somebody has to change something.

Each has the ` + "`observedGeneration`" + ` that it is about. An object whose generation is higher was changed and not looked at since.

`)
	for _, g := range groups {
		if len(g.constants) == 0 || g.constants[0].meaning == "" {
			continue
		}
		fmt.Fprintf(&b, "## %s\n\n| name | |\n|---|---|\n", strings.TrimSuffix(g.title, "."))
		for _, c := range g.constants {
			fmt.Fprintf(&b, "| `%s` | %s |\n", c.value, cell(c.meaning))
		}
		b.WriteString("\n")
	}
	return b.String()
}

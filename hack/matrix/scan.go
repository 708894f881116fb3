package main

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// place is where something is cited: a file, and what of it.
type place struct {
	file string // slashes, from the root
	part string // a declaration, or the heading of a scenario; may be empty
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.file, q.file), cmp.Compare(p.part, q.part))
}

// scanned are the directories that are read, and whether all that is in them is tests.
var scanned = []struct {
	dir   string
	tests bool
}{
	{"broker", false},
	{"test/conformance", true},
	{"test/crash", true},
}

// scan adds the citations of all sources and tests to the statements.
func scan(root string, tables []*table) error {
	var wrong []error
	for _, d := range scanned {
		err := filepath.WalkDir(filepath.Join(root, d.dir), func(file string, e fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case e.IsDir() && (e.Name() == "node_modules" || e.Name() == "statements"):
				return fs.SkipDir
			case e.IsDir():
				return nil
			}
			name, err := filepath.Rel(root, file)
			if err == nil {
				err = scanFile(file, filepath.ToSlash(name), d.tests, tables)
			}
			if err != nil {
				wrong = append(wrong, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return errors.Join(wrong...)
}

func scanFile(file, name string, tests bool, tables []*table) error {
	isGo := strings.HasSuffix(name, ".go")
	isText := strings.HasSuffix(name, ".txt") && strings.Contains(name, "/testdata/")
	if !isGo && !isText && !strings.HasSuffix(name, ".js") && !strings.HasSuffix(name, ".py") {
		return nil
	}
	src, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	found, at, err := citations(string(src))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if len(found) == 0 {
		return nil
	}
	partOf := heading(string(src))
	if isGo {
		if partOf, err = declarations(name, src); err != nil {
			return err
		}
	}
	tests = tests || isText || strings.HasSuffix(name, "_test.go")
	var wrong []error
	for i, c := range found {
		s := find(tables, c)
		if s == nil {
			wrong = append(wrong, fmt.Errorf("%s: there is no statement %s%s", name, c.prefix, c.number))
			continue
		}
		p := place{name, partOf(at[i])}
		if tests {
			s.tests = s.tests.add(p)
		} else {
			s.code = s.code.add(p)
		}
	}
	return errors.Join(wrong...)
}

func find(tables []*table, c cited) *statement {
	for _, t := range tables {
		if t.prefix == c.prefix {
			return t.by[c.number]
		}
	}
	return nil
}

// declarations answers which declaration of a Go file holds an offset, with its comment.
func declarations(name string, src []byte) (func(at int) string, error) {
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, name, src, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	type span struct {
		from, to int
		name     string
	}
	var spans []span
	for _, d := range f.Decls {
		from := d.Pos()
		if doc := docOf(d); doc != nil {
			from = doc.Pos()
		}
		for _, s := range listed(d) {
			spans = append(spans, span{files.Position(s.Pos()).Offset, endOfLine(src, files.Position(s.End()).Offset), s.Names[0].Name})
		}
		spans = append(spans, span{files.Position(from).Offset, endOfLine(src, files.Position(d.End()).Offset), nameOf(d)})
	}
	return func(at int) string {
		for _, s := range spans {
			if s.from <= at && at < s.to {
				return s.name
			}
		}
		return ""
	}, nil
}

// listed are the constants or variables of a declaration of several.
func listed(d ast.Decl) (all []*ast.ValueSpec) {
	g, ok := d.(*ast.GenDecl)
	if !ok || len(g.Specs) < 2 {
		return nil
	}
	for _, s := range g.Specs {
		if v, ok := s.(*ast.ValueSpec); ok {
			all = append(all, v)
		}
	}
	return all
}

// endOfLine is where the line of an offset ends: a comment behind a declaration belongs to it.
func endOfLine(src []byte, at int) int {
	for at < len(src) && src[at] != '\n' {
		at++
	}
	return at
}

func docOf(d ast.Decl) *ast.CommentGroup {
	switch d := d.(type) {
	case *ast.FuncDecl:
		return d.Doc
	case *ast.GenDecl:
		return d.Doc
	}
	return nil
}

// nameOf is Type.Method, Function, or the first name that a declaration gives.
func nameOf(d ast.Decl) string {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv != nil && len(d.Recv.List) == 1 {
			return receiver(d.Recv.List[0].Type) + "." + d.Name.Name
		}
		return d.Name.Name
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				return s.Name.Name
			case *ast.ValueSpec:
				return s.Names[0].Name
			}
		}
	}
	return ""
}

func receiver(t ast.Expr) string {
	switch t := t.(type) {
	case *ast.StarExpr:
		return receiver(t.X)
	case *ast.IndexExpr:
		return receiver(t.X)
	case *ast.Ident:
		return t.Name
	}
	return ""
}

// heading answers which scenario of a text file holds an offset: a line that begins with "== " or ends with ":" begins
// one.
func heading(src string) func(at int) string {
	return func(at int) (title string) {
		for line := range strings.Lines(src[:at]) {
			line = strings.TrimSpace(line)
			if t, ok := strings.CutPrefix(line, "== "); ok {
				title = t
			} else if t, ok := strings.CutSuffix(line, ":"); ok && !strings.HasPrefix(line, "//") {
				title = t
			}
		}
		return title
	}
}

package kernel

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Every exported name, including fields and methods, is in an example that runs.
func TestExamples(t *testing.T) {
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	parse := func(path string) *ast.File {
		file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	exported, shown := map[string]token.Pos{}, map[string]bool{}
	for _, path := range paths {
		file := parse(path)
		if !strings.HasSuffix(path, "_test.go") {
			for name, pos := range exportedNames(file) {
				exported[name] = pos
			}
			continue
		}
		for _, example := range doc.Examples(file) {
			if example.Output == "" {
				t.Errorf("%s: Example%s has no output: it does not run", path, example.Name)
			}
			code := ast.Node(example.Code)
			if example.Play != nil { // with what it calls
				code = example.Play
			}
			ast.Inspect(code, func(n ast.Node) bool {
				if name, ok := n.(*ast.Ident); ok {
					shown[name.Name] = true
				}
				return true
			})
		}
	}
	for name, pos := range exported {
		if !shown[name] {
			t.Errorf("%v: no example has %s", fset.Position(pos), name)
		}
	}
	if len(exported) < 50 {
		t.Errorf("only %d names: %v", len(exported), exported)
	}
}

// exportedNames returns the exported names at the top of the file, and those of the fields and
// methods of exported types.
func exportedNames(file *ast.File) map[string]token.Pos {
	names := map[string]token.Pos{}
	ast.FileExports(file) // leaves out all else
	ast.Inspect(file, func(n ast.Node) bool {
		var found []*ast.Ident
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv != nil { // *T or T
				receiver := n.Recv.List[0].Type
				if star, ok := receiver.(*ast.StarExpr); ok {
					receiver = star.X
				}
				if !receiver.(*ast.Ident).IsExported() {
					return false
				}
			}
			found = []*ast.Ident{n.Name}
		case *ast.TypeSpec:
			found = []*ast.Ident{n.Name}
		case *ast.ValueSpec:
			found = n.Names
		case *ast.Field:
			found = n.Names
		}
		for _, name := range found {
			if name.IsExported() {
				names[name.Name] = name.Pos()
			}
		}
		return true
	})
	return names
}

// The quick start of README.md, its first Go code, compiles as it stands and prints 3.
func TestQuickStart(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, begun := strings.Cut(string(text), "\n```go\n")
	code, _, ended := strings.Cut(rest, "\n```\n")
	if !begun || !ended {
		t.Fatal("README.md has no Go code")
	}
	path := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(path, []byte(code), 0o666); err != nil {
		t.Fatal(err)
	}
	run := exec.Command("go", "run", path)
	run.Env = append(os.Environ(), "GOFLAGS=") // -v would print what is built
	out, err := run.CombinedOutput()
	x, failed := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	if err != nil || failed != nil || math.Abs(x-3) > 0.01 {
		t.Errorf("%v, printed %q, want 3", err, out)
	}
}

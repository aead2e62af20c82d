// A BuildKit frontend that reads a small part of blubber.yaml: `base`, `copies: [local]`, `includes` and `entrypoint`.
//
// It stands in for Blubber's own, which no registry of packages has, where `# syntax=` in a blubber.yaml is tried
// against a real BuildKit. It makes a Dockerfile of the variant, and lets BuildKit's own frontend build that.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/frontend/gateway/grpcclient"
	"github.com/moby/buildkit/solver/pb"
	"go.yaml.in/yaml/v3"
)

type variant struct {
	Base       string   `yaml:"base"`
	Includes   []string `yaml:"includes"`
	Copies     []string `yaml:"copies"`
	Entrypoint []string `yaml:"entrypoint"`
}

type document struct {
	Version  string             `yaml:"version"`
	Base     string             `yaml:"base"`
	Variants map[string]variant `yaml:"variants"`
}

func main() {
	if err := grpcclient.RunFromEnvironment(context.Background(), build); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func build(ctx context.Context, c client.Client) (*client.Result, error) {
	options := c.BuildOpts().Opts
	text, err := read(ctx, c, options["filename"])
	if err != nil {
		return nil, err
	}
	made, err := dockerfile(text, options["target"])
	if err != nil {
		return nil, err
	}
	file, err := llb.Scratch().File(llb.Mkfile("Dockerfile", 0o644, []byte(made))).Marshal(ctx)
	if err != nil {
		return nil, err
	}
	kept := map[string]string{"filename": "Dockerfile"}
	for name, value := range options {
		if name == "no-cache" || strings.HasPrefix(name, "label:") || strings.HasPrefix(name, "build-arg:") {
			kept[name] = value
		}
	}
	inputs := map[string]*pb.Definition{"dockerfile": file.ToPB()}
	return c.Solve(ctx, client.SolveRequest{Frontend: "dockerfile.v0", FrontendOpt: kept, FrontendInputs: inputs})
}

// read gives the text of the file that `docker build --file` names.
func read(ctx context.Context, c client.Client, name string) ([]byte, error) {
	state := llb.Local("dockerfile", llb.IncludePatterns([]string{name}), llb.SessionID(c.BuildOpts().SessionID))
	definition, err := state.Marshal(ctx)
	if err != nil {
		return nil, err
	}
	result, err := c.Solve(ctx, client.SolveRequest{Definition: definition.ToPB()})
	if err != nil {
		return nil, err
	}
	reference, err := result.SingleRef()
	if err != nil {
		return nil, err
	}
	return reference.ReadFile(ctx, client.ReadRequest{Filename: name})
}

// dockerfile is what a variant amounts to, as Blubber would have it: an unprivileged user, and a label.
func dockerfile(text []byte, name string) (string, error) {
	var read document
	if err := yaml.Unmarshal(text, &read); err != nil {
		return "", err
	}
	chosen, known := read.Variants[name]
	if read.Version != "v4" || !known {
		return "", fmt.Errorf("blubber.yaml of version v4 with a variant %q is wanted", name)
	}
	for _, other := range chosen.Includes {
		included := read.Variants[other]
		chosen.Copies = append(slices.Clone(included.Copies), chosen.Copies...)
		chosen.Base = first(chosen.Base, included.Base)
		if chosen.Entrypoint == nil {
			chosen.Entrypoint = included.Entrypoint
		}
	}
	lines := []string{"FROM " + first(chosen.Base, read.Base), "WORKDIR /srv/app"}
	if slices.Contains(chosen.Copies, "local") {
		lines = append(lines, "COPY . .")
	}
	if chosen.Entrypoint != nil {
		words, err := json.Marshal(chosen.Entrypoint)
		if err != nil {
			return "", err
		}
		lines = append(lines, "ENTRYPOINT "+string(words))
	}
	lines = append(lines, "USER 900", fmt.Sprintf("LABEL blubber.variant=%q", name))
	return strings.Join(lines, "\n") + "\n", nil
}

func first(words ...string) string {
	for _, word := range words {
		if word != "" {
			return word
		}
	}
	return ""
}

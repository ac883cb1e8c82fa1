#!/usr/bin/env bash
# Validates the manifests strictly; where kubectl is there, also what kustomize makes of the example.
set -euo pipefail
cd "$(dirname "$0")/kubernetes"

objects=()
for file in base/*.yaml; do
    [ "$file" = base/kustomization.yaml ] || objects+=("$file")
done
kubernetes-validate --strict --quiet "${objects[@]}"

if command -v kubectl >/dev/null; then
    copy="$(mktemp -d)"
    trap 'rm -rf "$copy"' EXIT
    cp -r . "$copy/"
    for secret in database_url direct_database_url api_key_pepper secret_keys; do
        echo placeholder >"$copy/overlays/example/secrets/$secret"
    done
    kubectl kustomize "$copy/overlays/example" >"$copy/rendered.yaml"
    kubernetes-validate --strict --quiet "$copy/rendered.yaml"
else
    echo "kubectl is not here: the rendered example was not checked" >&2
fi

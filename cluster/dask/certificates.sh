#!/usr/bin/env bash
# One certificate for the scheduler, the workers and the clients of a Dask cluster, and the authority that vouches
# for it. The authority's key is deleted at once, so that nobody can make another. Usage: certificates.sh FOLDER [DAYS]
set -euo pipefail
folder=${1:?usage: certificates.sh FOLDER [DAYS]}
days=${2:-30}
umask 077
mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
curve=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
openssl req -x509 "${curve[@]}" -days "$days" -subj "/CN=l3ae-dist authority" \
  -keyout "$work/ca.key" -out "$folder/ca.pem" 2>/dev/null
openssl req "${curve[@]}" -subj "/CN=l3ae-dist" -keyout "$folder/key.pem" -out "$work/request.pem" 2>/dev/null
openssl x509 -req -in "$work/request.pem" -CA "$folder/ca.pem" -CAkey "$work/ca.key" \
  -CAserial "$work/ca.srl" -CAcreateserial -days "$days" -out "$folder/cert.pem" 2>/dev/null
echo "$folder: ca.pem cert.pem key.pem, valid for $days days"

# shellcheck shell=bash
# Sourced by the scripts beside it: Dask's configuration, with the certificate in the folder L3AE_TLS.
: "${L3AE_TLS:?set L3AE_TLS to the folder that certificates.sh made}"
export L3AE_TLS
DASK_CONFIG=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/dask.yaml
export DASK_CONFIG
export DASK_DISTRIBUTED__COMM__TLS__CA_FILE=$L3AE_TLS/ca.pem
export DASK_DISTRIBUTED__COMM__TLS__SCHEDULER__CERT=$L3AE_TLS/cert.pem
export DASK_DISTRIBUTED__COMM__TLS__SCHEDULER__KEY=$L3AE_TLS/key.pem
export DASK_DISTRIBUTED__COMM__TLS__WORKER__CERT=$L3AE_TLS/cert.pem
export DASK_DISTRIBUTED__COMM__TLS__WORKER__KEY=$L3AE_TLS/key.pem
export DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT=$L3AE_TLS/cert.pem
export DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY=$L3AE_TLS/key.pem

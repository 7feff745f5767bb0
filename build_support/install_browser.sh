#!/bin/sh
# Installs the browser that tests look at pages with, where that is possible; says so where it is not.
for program in chromium chromium-browser google-chrome google-chrome-stable; do
    command -v "$program" >/dev/null && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo 'installing chromium for the tests of pages ...'
    apt-get update -qq &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null &&
        command -v chromium >/dev/null && exit 0
fi
echo 'no browser: the tests that look at pages in one will be skipped (make test) or fail (make test-all); install chromium' >&2

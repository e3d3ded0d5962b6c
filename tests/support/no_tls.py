"""What HTTP clients of the tests are given in place of a store of certificates."""

import ssl

# Nothing here speaks TLS, and httpx reads 140 certificates for each client that it makes: 45 ms, thousands of times.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

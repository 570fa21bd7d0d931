// An HTTP server that looks up the name in its path: by c-ares, or by getaddrinfo (?lookup).
const dns = require('dns').promises
const http = require('http')

const server = http.createServer(async (request, response) => {
  const url = new URL(request.url, 'http://here')
  const name = url.pathname.slice(1)
  try {
    const found = url.search === '?lookup' ? await dns.lookup(name) : await dns.resolve4(name)
    response.end(JSON.stringify(found))
  } catch (error) {
    response.statusCode = 502
    response.end(String(error))
  }
})
server.listen(0, '127.0.0.1', () => console.log(server.address().port))

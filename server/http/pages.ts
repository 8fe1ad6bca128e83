/**
 * Web pages that were built beforehand, served from a folder. Files whose name carries a hash of their content never
 * change and are kept by browsers for good; everything else is asked for again each time. A page may load what is its
 * own, and talk to the replica that served it, by HTTP and by WebSocket; nothing else.
 */
import express, { type Request, type RequestHandler, Router } from 'express'
import helmet from 'helmet'

const HASHED = /-[A-Za-z0-9_-]{8}\.\w+$/

/** Serves `folder` (absolute) at the path where it is mounted. What it lacks is passed on. */
export function servePages(folder: string): RequestHandler {
  const router = Router({ strict: true, caseSensitive: true })
  router.use(
    helmet.contentSecurityPolicy({
      useDefaults: false,
      directives: {
        defaultSrc: ["'self'"],
        // Editors place cursors and colours by style attributes.
        styleSrc: ["'self'", "'unsafe-inline'"],
        imgSrc: ["'self'", 'data:', 'blob:'],
        connectSrc: ["'self'", (request) => ownSockets(request as Request)],
        objectSrc: ["'none'"],
        baseUri: ["'none'"],
        formAction: ["'self'"],
        frameAncestors: ["'none'"],
      },
    }),
  )
  router.use(
    express.static(folder, {
      etag: true,
      dotfiles: 'ignore',
      redirect: true,
      setHeaders(response, path) {
        response.setHeader('Cache-Control', HASHED.test(path) ? 'public, max-age=31536000, immutable' : 'no-cache')
      },
    }),
  )
  return router
}

/** Not every browser takes `'self'` to include WebSockets. */
function ownSockets(request: Request): string {
  const host = request.headers.host ?? ''
  return /^[\w.:[\]-]+$/.test(host) ? `ws://${host} wss://${host}` : "'self'"
}

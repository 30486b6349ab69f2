// Reads bodies with Node's parsers: one JSON line for each that it gets.
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import querystring from 'node:querystring'
import bodyParser from 'body-parser'
import busboy from 'busboy'
import qs from 'qs'

const guardedName = 'role'

function guarded (value, found) {
  if (Array.isArray(value)) {
    value.forEach(element => guarded(element, found))
  } else if (value !== null && typeof value === 'object') {
    for (const name of Object.keys(value)) {
      if (name === guardedName) found.push(value[name])
      guarded(value[name], found)
    }
  }
  return found
}

// A list of the values of one name, or one value alone. Of what a parser of forms
// nests in brackets, the texts: the policy has them under other names.
const listOf = value => value === undefined ? [] : Array.isArray(value) ? value : [value]
const leaves = value => value !== null && typeof value === 'object' ? Object.values(value).flatMap(leaves) : [value]

function document (parser, value) {
  const own = value !== null && typeof value === 'object' && !Array.isArray(value) && Object.hasOwn(value, guardedName)
  return { parser, top: own ? [value[guardedName]] : [], all: guarded(value, []) }
}

function form (parser, value) {
  const top = Object.hasOwn(value, guardedName) ? listOf(value[guardedName]).flatMap(leaves) : []
  return { parser, top, all: guarded(value, []).flatMap(leaves) }
}

const fields = (parser, values) => ({ parser, top: values, all: values })

// What Express does with a request.
function express (parse, kind, body) {
  const request = Readable.from([body])
  request.headers = { 'content-type': kind, 'content-length': String(body.length) }
  return new Promise((resolve, reject) => parse(request, {}, error => error ? reject(error) : resolve(request.body)))
}

const expressJSON = bodyParser.json({ strict: false })
const expressForm = bodyParser.urlencoded({ extended: true })

function busboyFields (kind, body) {
  return new Promise((resolve, reject) => {
    const parser = busboy({ headers: { 'content-type': kind } })
    const values = []
    parser.on('field', (name, value) => { if (name === guardedName) values.push(value) })
    parser.on('file', (name, stream) => {
      const chunks = []
      stream.on('data', chunk => chunks.push(chunk))
      stream.on('error', reject)
      stream.on('end', () => { if (name === guardedName) values.push(Buffer.concat(chunks).toString()) })
    })
    parser.on('error', reject)
    parser.on('close', () => resolve(values))
    parser.end(body)
  })
}

async function formData (kind, body) {
  const data = await new Response(body, { headers: { 'content-type': kind } }).formData()
  return Promise.all(data.getAll(guardedName).map(value => typeof value === 'string' ? value : value.text()))
}

const parsers = {
  'application/json': [
    (kind, body) => document('JSON.parse', JSON.parse(body.toString())),
    async (kind, body) => document('body-parser', await express(expressJSON, kind, body))
  ],
  'application/x-www-form-urlencoded': [
    (kind, body) => fields('URLSearchParams', new URLSearchParams(body.toString()).getAll(guardedName)),
    (kind, body) => fields('querystring', listOf(querystring.parse(body.toString())[guardedName])),
    (kind, body) => form('qs', qs.parse(body.toString())),
    async (kind, body) => form('body-parser', await express(expressForm, kind, body)),
    async (kind, body) => fields('busboy', await busboyFields(kind, body)),
    async (kind, body) => fields('undici', await formData(kind, body))
  ],
  'multipart/form-data': [
    async (kind, body) => fields('busboy', await busboyFields(kind, body)),
    async (kind, body) => fields('undici', await formData(kind, body))
  ]
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line)
  const body = Buffer.from(request.body, 'base64')
  const readings = []
  for (const [name, list] of Object.entries(parsers)) {
    if (!request.type.toLowerCase().includes(name)) continue
    for (const parse of list) {
      try {
        readings.push(await parse(request.type, body))
      } catch {} // it refuses the body, in whatever way
    }
  }
  process.stdout.write(JSON.stringify(readings) + '\n')
}

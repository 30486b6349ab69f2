# The application behind the proxy, in Sinatra's classic style, under puma:
# its defaults, method_override among them.
require 'sinatra'
require 'json'

ANY = %w[get post put patch delete options].freeze

def says(handler, *value)
  content_type :json
  ({ handler: handler }.merge(value.empty? ? {} : { value: value[0] })).to_json
end

ANY.each do |verb|
  send(verb, '/') { says 'root' }
  send(verb, '/admin') { says 'admin' }
  send(verb, '/admin/users/:id') { says 'user', params['id'] }
  send(verb, '/w/:ws') { says 'workspace', params['ws'] }
  send(verb, '/files/:name') { says 'file', params['name'] }
  send(verb, '/exports') { says 'exports' }
end
get('/items') { says 'items', params['workspace'] }
get('/orders') { says 'orders', params['workspace_id'] }
get('/hdr') { says 'hdr', request.env['HTTP_X_ORG'] }
get('/public/:name') { says 'public', params['name'] }
post('/things/:id') { says 'update', params['id'] }
delete('/things/:id') { says 'delete', params['id'] }
delete('/posts/:id') { says 'unpublish', params['id'] }

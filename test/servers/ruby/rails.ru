# The application behind the proxy, in Rails, under puma: `resources`-like
# routes, with the (.:format) that Rails adds to each, and its default
# middleware, Rack::MethodOverride among it.
require 'action_controller/railtie'
require 'logger'

class Application < Rails::Application
  config.load_defaults Rails::VERSION::STRING.to_f
  config.root = ENV.fetch('DIR')
  config.eager_load = false
  config.hosts.clear
  config.secret_key_base = 'of a test' * 8
  config.logger = Logger.new($stderr, level: Logger::WARN)
  config.consider_all_requests_local = false
  config.action_controller.allow_forgery_protection = false
end

class AnswersController < ActionController::Base
  def self.says(handler, &value)
    define_method(handler) do
      render json: { handler: handler }.merge(value ? { value: instance_exec(&value) } : {}), content_type: 'application/json'
    end
  end

  %i[root admin exports].each { |handler| says(handler) }
  %i[user update delete unpublish].each { |handler| says(handler) { params[:id] } }
  %i[file public].each { |handler| says(handler) { params[:name] } }
  says(:items) { params[:workspace] }
  says(:orders) { params[:workspace_id] }
  says(:hdr) { request.headers['X-Org'] }
  says(:workspace) { params[:ws] }
end

Application.initialize!
Application.routes.draw do
  any = { via: :all }
  match '/', to: 'answers#root', **any
  match '/admin', to: 'answers#admin', **any
  match '/admin/users/:id', to: 'answers#user', **any
  get '/items', to: 'answers#items'
  get '/orders', to: 'answers#orders'
  get '/hdr', to: 'answers#hdr'
  match '/w/:ws', to: 'answers#workspace', **any
  match '/files/:name', to: 'answers#file', **any
  get '/public/:name', to: 'answers#public'
  post '/things/:id', to: 'answers#update'
  delete '/things/:id', to: 'answers#delete'
  delete '/posts/:id', to: 'answers#unpublish'
  match '/exports', to: 'answers#exports', **any
end

run Application

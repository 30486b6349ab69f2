ENV['APP_ENV'] = 'production'
require_relative 'sinatra'
run Sinatra::Application

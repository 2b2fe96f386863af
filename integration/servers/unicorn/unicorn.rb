# unicorn of the integration tests: unicorn -c unicorn.rb config.ru, in this directory.
#
# Sockets: LISTEN_FDS, of the address below.
# Ready: the first worker says it. Stop: SIGQUIT lets requests finish; it exits 0.
listen '0.0.0.0:80'
worker_processes 2
after_worker_ready do |_server, worker|
  system 'systemd-notify', '--ready' if ENV['NOTIFY_SOCKET'] && worker.nr.zero?
end

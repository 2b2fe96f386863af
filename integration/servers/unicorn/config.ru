# X-Pid is the master's PID, which is systemd's main PID.
run lambda { |_env|
  generation = ENV['FLIPEXEC_GENERATION'].to_s
  body = "ok pid=#{Process.ppid} gen=#{generation}\n"
  [200, { 'Content-Type' => 'text/plain', 'Content-Length' => body.bytesize.to_s, 'X-Pid' => Process.ppid.to_s,
          'X-Generation' => generation }, [body]]
}

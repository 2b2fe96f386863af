<?php
$generation = getenv('FLIPEXEC_GENERATION');
$body = "ok pid=" . posix_getppid() . " gen=$generation\n";
header('Content-Type: text/plain');
header('Content-Length: ' . strlen($body));
header('X-Pid: ' . posix_getppid());
header("X-Generation: $generation");
echo $body;

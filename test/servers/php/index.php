<?php
// The application behind the proxy, in PHP's own server: a front controller
// that routes by the path alone, as small frameworks do.

$path = rawurldecode(explode('?', $_SERVER['REQUEST_URI'], 2)[0]);
$method = $_SERVER['REQUEST_METHOD'];

function says(string $handler, mixed ...$value): void
{
    header('Content-Type: application/json');
    echo json_encode(['handler' => $handler] + ($value ? ['value' => $value[0]] : []), JSON_INVALID_UTF8_SUBSTITUTE | JSON_UNESCAPED_SLASHES);
}

match (true) {
    $path === '/' => says('root'),
    $path === '/admin' => says('admin'),
    preg_match('#^/admin/users/([^/]+)$#', $path, $m) === 1 => says('user', $m[1]),
    $path === '/items' && $method === 'GET' => says('items', $_GET['workspace'] ?? null),
    $path === '/orders' && $method === 'GET' => says('orders', $_GET['workspace_id'] ?? null),
    $path === '/hdr' && $method === 'GET' => says('hdr', $_SERVER['HTTP_X_ORG'] ?? null),
    preg_match('#^/w/([^/]+)$#', $path, $m) === 1 => says('workspace', $m[1]),
    preg_match('#^/files/([^/]+)$#', $path, $m) === 1 => says('file', $m[1]),
    preg_match('#^/public/([^/]+)$#', $path, $m) === 1 && $method === 'GET' => says('public', $m[1]),
    preg_match('#^/things/([^/]+)$#', $path, $m) === 1 && $method === 'POST' => says('update', $m[1]),
    preg_match('#^/things/([^/]+)$#', $path, $m) === 1 && $method === 'DELETE' => says('delete', $m[1]),
    preg_match('#^/posts/([^/]+)$#', $path, $m) === 1 && $method === 'DELETE' => says('unpublish', $m[1]),
    $path === '/exports' => says('exports'),
    default => http_response_code(404),
};

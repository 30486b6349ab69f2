"""The application behind the proxy, in Django, under gunicorn."""

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponseNotAllowed, JsonResponse
from django.urls import path

# Django's defaults, with the middleware that startproject writes and that
# looks at paths.
settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
)


def says(handler, *value):
    return JsonResponse({"handler": handler, "value": value[0]} if value else {"handler": handler})


def only(method, view):
    def limited(request, **params):
        return view(request, **params) if request.method == method else HttpResponseNotAllowed([method])

    return limited


def thing(request, id):
    if request.method == "POST":
        return says("update", id)
    return says("delete", id) if request.method == "DELETE" else HttpResponseNotAllowed(["POST", "DELETE"])


urlpatterns = [
    path("", lambda request: says("root")),
    path("admin", lambda request: says("admin")),
    path("admin/users/<str:id>", lambda request, id: says("user", id)),
    path("items", only("GET", lambda request: says("items", request.GET.get("workspace")))),
    path("orders", only("GET", lambda request: says("orders", request.GET.get("workspace_id")))),
    path("hdr", only("GET", lambda request: says("hdr", request.headers.get("X-Org")))),
    path("w/<str:ws>", lambda request, ws: says("workspace", ws)),
    path("files/<str:name>", lambda request, name: says("file", name)),
    path("public/<str:name>", only("GET", lambda request, name: says("public", name))),
    path("things/<str:id>", thing),
    path("posts/<str:id>", only("DELETE", lambda request, id: says("unpublish", id))),
    path("exports", lambda request: says("exports")),
]

app = get_wsgi_application()

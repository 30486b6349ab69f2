"""The application behind the proxy, in Starlette (FastAPI's router), under uvicorn."""

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

ANY = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def says(handler, value=None, of=None):
    async def view(request):
        answer = {"handler": handler}
        if of:
            answer["value"] = of(request)
        elif value:
            answer["value"] = request.path_params[value]
        return JSONResponse(answer)

    return view


app = Starlette(
    routes=[
        Route("/", says("root"), methods=ANY),
        Route("/admin", says("admin"), methods=ANY),
        Route("/admin/users/{id}", says("user", "id"), methods=ANY),
        Route("/items", says("items", of=lambda r: r.query_params.get("workspace")), methods=["GET"]),
        Route("/orders", says("orders", of=lambda r: r.query_params.get("workspace_id")), methods=["GET"]),
        Route("/hdr", says("hdr", of=lambda r: r.headers.get("X-Org")), methods=["GET"]),
        Route("/w/{ws}", says("workspace", "ws"), methods=ANY),
        Route("/files/{name}", says("file", "name"), methods=ANY),
        Route("/public/{name}", says("public", "name"), methods=["GET"]),
        Route("/things/{id}", says("update", "id"), methods=["POST"]),
        Route("/things/{id}", says("delete", "id"), methods=["DELETE"]),
        Route("/posts/{id}", says("unpublish", "id"), methods=["DELETE"]),
        Route("/exports", says("exports"), methods=ANY),
    ]
)

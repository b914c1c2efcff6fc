"""Log a browser in and out: it sends the token once and keeps a login as a cookie."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel

from app.answer_schemas import body_of
from app.credentials import COOKIE, LOGIN_SECONDS, Credentials
from app.standing_page import standing_page

router = APIRouter()


async def credentials_of(request: Request) -> Credentials:
    """Return what the server checks tokens and logins with."""
    credentials: Credentials = request.app.state.credentials
    return credentials


CredentialsOf = Annotated[Credentials, Depends(credentials_of)]


class Login(BaseModel):
    """Tell whether this browser has a login, which it can end."""

    logged_in: bool


@router.get("/api/login")
async def login_state(request: Request, credentials: CredentialsOf) -> Login:
    """Tell whether the request carries a login, as a browser's cookie; without a token there are none."""
    return Login(logged_in=credentials.needed and credentials.holds_login(request.headers))


@router.get("/login", response_class=HTMLResponse)
async def login_page() -> str:
    """Send the page on which a person types the token, or logs out."""
    return standing_page("login")


@router.post(
    "/login",
    status_code=303,
    response_class=RedirectResponse,
    openapi_extra=dict(body_of("application/x-www-form-urlencoded")),
)
async def login(request: Request, credentials: CredentialsOf) -> Response:
    """Set a cookie for the right token (form field `token`); 401 for another, 429 after too many."""
    form = parse_qs((await request.body()).decode("utf-8", "replace"), keep_blank_values=True)
    (offered, *_) = form.get("token", [""])
    address = request.client.host if request.client else "?"
    if not credentials.needed or not credentials.accept_token(offered.strip().encode(), address):
        raise HTTPException(401, "the token is wrong")
    answer = RedirectResponse("./", 303)
    answer.set_cookie(
        COOKIE,
        credentials.log_in(),
        max_age=LOGIN_SECONDS,
        path=request.scope.get("root_path", "") + "/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/logout", status_code=303, response_class=RedirectResponse)
async def logout(request: Request, credentials: CredentialsOf) -> Response:
    """End the login of this browser."""
    credentials.log_out(request.headers)
    answer = RedirectResponse("login", 303)
    answer.delete_cookie(COOKIE, path=request.scope.get("root_path", "") + "/")
    return answer

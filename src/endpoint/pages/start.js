"use strict";
window.addEventListener("load", () => {
  const place = document.getElementById("viewer");
  window.SwaggerUIBundle({
    url: place.dataset.url,
    domNode: place,
    deepLinking: true,
    validatorUrl: null,
    supportedSubmitMethods: ["get", "put", "post", "delete", "options", "head", "patch"],
  });
});
